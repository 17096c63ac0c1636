// A little colour for code, the same for all languages: comments, strings, numbers, and words that most of them reserve.

import type { ComponentChildren } from "preact";

const HASH_COMMENTS = /^(py|python|sh|bash|shell|console|zsh|rb|ruby|yaml|yml|toml|r|perl|make|makefile|dockerfile|nix|elixir)$/i;
const DASH_COMMENTS = /^(sql|lua|haskell|hs|ada|elm)$/i;
const PLAIN = /^(|text|txt|plain|markdown|md|diff|console|output|log)$/i;
const CHARACTERS_MAX = 20_000;

const STRINGS = String.raw`"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|${"`"}(?:\\.|[^${"`"}\\])*${"`"}`;
const NUMBERS = String.raw`\b(?:0[xob][\da-f_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b`;
const WORDS =
  "abstract|and|as|assert|async|await|begin|break|case|catch|class|const|continue|create|def|default|defer|del|delete|do|done|elif|else|end|enum|except|export|extends|extern|false|False|fi|finally|fn|for|foreach|from|func|function|global|go|goto|group|if|impl|implements|import|in|insert|instanceof|interface|into|is|join|lambda|let|limit|match|mod|module|mut|namespace|new|nil|None|not|null|of|or|order|package|pass|private|protected|pub|public|raise|return|select|self|set|static|struct|super|switch|table|then|this|throw|trait|true|True|try|type|typeof|undefined|union|update|use|using|values|var|void|where|while|with|yield";

const grammars = new Map<string, RegExp>();

function grammarOf(comments: string): RegExp {
  let grammar = grammars.get(comments);
  if (!grammar) {
    grammar = new RegExp(`(${comments})|(${STRINGS})|(${NUMBERS})|\\b(${WORDS}|${WORDS.toUpperCase()})\\b`, "gm");
    grammars.set(comments, grammar);
  }
  return grammar;
}

function commentsOf(language: string): string {
  if (HASH_COMMENTS.test(language)) return "#.*$";
  if (DASH_COMMENTS.test(language)) return String.raw`--.*$|/\*[\s\S]*?\*/`;
  if (/^(html|xml|svg)$/i.test(language)) return String.raw`<!--[\s\S]*?-->`;
  return String.raw`//.*$|/\*[\s\S]*?\*/`;
}

const KINDS = ["comment", "string", "number", "word"];

export function highlighted(text: string, language: string): ComponentChildren {
  if (PLAIN.test(language) || text.length > CHARACTERS_MAX) return text;
  const pieces: ComponentChildren[] = [];
  let at = 0;
  for (const found of text.matchAll(grammarOf(commentsOf(language)))) {
    if (found.index > at) pieces.push(text.slice(at, found.index));
    const kind = KINDS[found.slice(1).findIndex((group) => group !== undefined)];
    pieces.push(<span class={kind}>{found[0]}</span>);
    at = found.index + found[0].length;
  }
  pieces.push(text.slice(at));
  return pieces;
}
