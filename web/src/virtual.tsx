// A list of which only the rows in sight are in the page, so that its length does not matter.

import type { AriaRole, ComponentChildren, HTMLAttributes, RefObject } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

const OVERSCAN = 8;
// How many rows before the end more are asked for, once somebody is on the way there.
const AHEAD = 500;

interface Props extends Omit<HTMLAttributes<HTMLDivElement>, "children" | "ref"> {
  count: number;
  rowHeight: number;
  row: (index: number) => ComponentChildren;
  onNearEnd?: () => void;
  // What is in sight may be something else now.
  onLook?: () => void;
  box?: RefObject<HTMLDivElement | null>;
  role?: AriaRole;
}

export function VirtualList({ count, rowHeight, row, onNearEnd, onLook, box, ...rest }: Props) {
  const own = useRef<HTMLDivElement>(null);
  const element = box ?? own;
  const [span, setSpan] = useState({ first: 0, last: 30 });

  const look = (): void => {
    const { scrollTop, clientHeight } = element.current!;
    const first = Math.max(0, Math.floor(scrollTop / rowHeight) - OVERSCAN);
    const last = Math.ceil((scrollTop + clientHeight) / rowHeight) + OVERSCAN;
    setSpan((now) => (now.first === first && now.last === last ? now : { first, last }));
    if (last + (scrollTop ? AHEAD : 0) > count) onNearEnd?.();
    onLook?.();
  };

  useLayoutEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(look, [count]);

  const last = Math.min(span.last, count);
  const first = Math.min(span.first, last);
  const shown = Array.from({ length: last - first }, (_, offset) => row(first + offset));
  return (
    <div {...rest} ref={element} onScroll={look}>
      <div class="rows" role="presentation" style={{ height: `${count * rowHeight}px` }}>
        <div class="window" role="presentation" style={{ transform: `translateY(${first * rowHeight}px)` }}>
          {shown}
        </div>
      </div>
    </div>
  );
}

/** Scrolls just so far that the row is in sight. */
export function bringIntoSight(box: HTMLElement, index: number, rowHeight: number): void {
  const top = index * rowHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + rowHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + rowHeight - box.clientHeight;
}
