// Builds the playground into the folder that is given: one page, one style sheet, one icon, and a script with the parts
// that are loaded later. The same sources give the same bytes.

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2];

const { outputFiles, metafile } = await build({
  absWorkingDir: HERE,
  entryPoints: { app: "src/main.tsx", style: "src/style.css" },
  outdir: "out",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  metafile: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome123", "firefox120", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  write: false,
});

const icon = await readFile(join(HERE, "src/icon.svg"));
const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8).toUpperCase()}.svg`;
const files = outputFiles.map(({ path, contents }) => [basename(path), contents]);
await mkdir(join(target, "assets"), { recursive: true });
for (const [name, contents] of [...files, [iconName, icon]]) await writeFile(join(target, "assets", name), contents);

const outputs = Object.entries(metafile.outputs);
const [app, { imports }] = outputs.find(([, { entryPoint }]) => entryPoint === "src/main.tsx");
const [style] = outputs.find(([, { entryPoint }]) => entryPoint === "src/style.css");
// What the script needs from the start is asked for beside it, not after it.
const needed = imports.filter(({ kind }) => kind === "import-statement").map(({ path }) => basename(path));
const names = {
  "app.js": basename(app),
  "style.css": basename(style),
  "icon.svg": iconName,
  needed: needed.map((name) => `<link rel="modulepreload" href="assets/${name}">`).join("\n"),
};
const page = await readFile(join(HERE, "src/index.html"), "utf8");
await writeFile(join(target, "index.html"), page.replace(/\{(.+?)\}/g, (_, name) => names[name]));
