// What is loaded when some of it is first shown. One file, so that the others have one in common with it and no more.

export { MetadataForm } from "./metadataform";
export { RunView } from "./runview";
export { Webhooks } from "./webhooks";
