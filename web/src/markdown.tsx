// Markdown as elements of the page. No HTML is ever made from text, so nothing in a message can run:
// what looks like HTML is shown as it was written, and a link leads to the web or to a mailbox, nowhere else.

import { Lexer, type Token, type Tokens } from "marked";
import { Component, type ComponentChildren } from "preact";
import { CopyButton } from "./copy";
import { highlighted } from "./highlight";

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
const ENTITY = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(amp|lt|gt|quot|apos|nbsp|copy|mdash|ndash|hellip));/gi;
const NAMED: Record<string, string> = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", mdash: "—", ndash: "–", hellip: "…",
};
// Deeper than that nobody writes; without a limit, text could be made that takes for ever.
const DEPTH_MAX = 20;

/** Draws again only when the text has changed. */
export class Markdown extends Component<{ text: string }> {
  override shouldComponentUpdate(next: { text: string }): boolean {
    return next.text !== this.props.text;
  }

  override render() {
    return <div class="markdown">{rendered(this.props.text)}</div>;
  }
}

function rendered(text: string): ComponentChildren {
  try {
    return blocks(new Lexer({ gfm: true }).lex(text), 0);
  } catch {
    // Nested too deeply for the parser.
    return <p class="plain">{text}</p>;
  }
}

function blocks(tokens: Token[], depth: number): ComponentChildren[] {
  return tokens.map((token) => block(token, depth + 1));
}

function block(token: Token, depth: number): ComponentChildren {
  if (depth > DEPTH_MAX) return token.raw;
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading": {
      // The page has a heading above them all.
      const Level = `h${Math.min(6, (token as Tokens.Heading).depth + 2)}` as "h3";
      return <Level>{inlines(token.tokens, depth)}</Level>;
    }
    case "paragraph":
      return <p>{inlines(token.tokens, depth)}</p>;
    case "text":
      return token.tokens ? inlines(token.tokens, depth) : decoded(token.text as string);
    case "code":
      return <Code text={token.text as string} language={((token.lang as string) ?? "").split(/\s/)[0]!} />;
    case "blockquote":
      return <blockquote>{blocks(token.tokens!, depth)}</blockquote>;
    case "list":
      return list(token as Tokens.List, depth);
    case "checkbox":
      return <input type="checkbox" checked={(token as Tokens.Checkbox).checked} disabled />;
    case "table":
      return table(token as Tokens.Table, depth);
    case "hr":
      return <hr />;
    case "html":
      return <p class="plain">{token.raw}</p>;
    default:
      return inline(token, depth);
  }
}

function list(token: Tokens.List, depth: number): ComponentChildren {
  const items = token.items.map((item) => (
    <li class={item.task ? "task" : undefined}>{blocks(item.tokens, depth)}</li>
  ));
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, depth: number): ComponentChildren {
  const cell = (Cell: "th" | "td", content: Tokens.TableCell, column: number) => (
    <Cell class={token.align[column] ?? undefined}>{inlines(content.tokens, depth)}</Cell>
  );
  return (
    <div class="scrolls" tabIndex={0}>
      <table>
        <thead>
          <tr>{token.header.map((content, column) => cell("th", content, column))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>{row.map((content, column) => cell("td", content, column))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inlines(tokens: Token[] | undefined, depth: number): ComponentChildren[] {
  return (tokens ?? []).map((token) => inline(token, depth + 1));
}

function inline(token: Token, depth: number): ComponentChildren {
  if (depth > DEPTH_MAX) return token.raw;
  switch (token.type) {
    case "strong":
      return <strong>{inlines(token.tokens, depth)}</strong>;
    case "em":
      return <em>{inlines(token.tokens, depth)}</em>;
    case "del":
      return <del>{inlines(token.tokens, depth)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Link href={token.href as string}>{inlines(token.tokens, depth)}</Link>;
    case "image":
      // Not fetched: that would tell a stranger that the message was read.
      return <Link href={token.href as string}>{(token.text as string) || "image"}</Link>;
    case "checkbox":
      return block(token, depth);
    case "escape":
      return token.text;
    case "text":
      return token.tokens ? inlines(token.tokens, depth) : decoded(token.text as string);
    default:
      return token.raw;
  }
}

export function Link({ href, children }: { href: string; children: ComponentChildren }) {
  if (!SAFE_LINK.test(href)) return <span title={href}>{children}</span>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

function decoded(text: string): string {
  return text.replace(ENTITY, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name) return NAMED[name.toLowerCase()] ?? whole;
    const number = decimal ? Number(decimal) : Number.parseInt(hex!, 16);
    return number && number <= 0x10ffff ? String.fromCodePoint(number) : whole;
  });
}

export function Code({ text, language }: { text: string; language: string }) {
  return (
    <figure class="code">
      <figcaption>
        <span>{language}</span>
        <CopyButton text={text} />
      </figcaption>
      <pre tabIndex={0}>
        <code>{highlighted(text, language)}</code>
      </pre>
    </figure>
  );
}
