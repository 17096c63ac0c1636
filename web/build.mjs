// Builds the playground into the folder that is given: one page, one script, one style sheet, one icon.
// The same sources give the same bytes.

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2];

const { outputFiles } = await build({
  absWorkingDir: HERE,
  entryPoints: { app: "src/main.tsx", style: "src/style.css" },
  outdir: "out",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome123", "firefox120", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  write: false,
});

await mkdir(join(target, "assets"), { recursive: true });
const names = {};
const files = outputFiles.map(({ path, contents }) => [path.split(/[\\/]/).pop(), contents]);
files.push(["icon.svg", await readFile(join(HERE, "src/icon.svg"))]);
for (const [name, contents] of files) {
  const hash = createHash("sha256").update(contents).digest("hex").slice(0, 12);
  names[name] = name.replace(".", `-${hash}.`);
  await writeFile(join(target, "assets", names[name]), contents);
}
const page = await readFile(join(HERE, "src/index.html"), "utf8");
await writeFile(join(target, "index.html"), page.replace(/\{(.+?)\}/g, (_, name) => names[name]));
