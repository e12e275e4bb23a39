// The style of <hub-inbox>. A page changes it with the variables of :host and with ::part(…). It is a constructed style
// sheet (CSSOM), which no Content-Security-Policy blocks.

const CSS = `
:host {
  --_accent: var(--hub-inbox-accent, light-dark(#4a45c9, #aaa8fa));
  --_paper: var(--hub-inbox-paper, light-dark(#ffffff, #1a1b20));
  --_fill: var(--hub-inbox-fill, light-dark(#f3f3f5, #26282f));
  --_ink: var(--hub-inbox-ink, light-dark(#16171b, #ededf0));
  --_quiet: var(--hub-inbox-quiet, light-dark(#5d606b, #a9acb6));
  --_line: var(--hub-inbox-line, light-dark(#e0e0e6, #34363e));
  --_badge: var(--hub-inbox-badge, light-dark(#b42318, #ff8f85));
  --_badge-ink: var(--hub-inbox-badge-ink, light-dark(#ffffff, #16171b));
  --_radius: var(--hub-inbox-radius, 12px);
  display: inline-block;
  position: relative;
  font: var(--hub-inbox-font, 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif);
  text-align: start;
}
:host([hidden]) { display: none; }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([theme="auto"]) { color-scheme: light dark; }
*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
svg { width: 1.25em; height: 1.25em; flex: none; fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; margin: 0; cursor: pointer; text-align: start; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }

.bell { display: grid; place-items: center; position: relative; min-width: 2.5rem; min-height: 2.5rem; border-radius: 10px; }
.bell:hover { background: light-dark(rgb(0 0 0 / .06), rgb(255 255 255 / .1)); }
.count { position: absolute; inset-block-start: 0; inset-inline-end: 0; min-width: 1.25rem; padding: 0 .3rem; border-radius: 99px; background: var(--_badge); color: var(--_badge-ink); font-size: .75rem; line-height: 1.25rem; font-weight: 650; text-align: center; font-variant-numeric: tabular-nums; }

.panel { position: fixed; inset: auto; margin: 0; padding: 0; z-index: var(--hub-inbox-z, 1000); display: none; flex-direction: column; overflow: hidden; width: min(var(--hub-inbox-width, 24rem), 100vw - 16px); color: var(--_ink); background: var(--_paper); border: 1px solid var(--_line); border-radius: var(--_radius); box-shadow: 0 12px 32px light-dark(rgb(20 20 43 / .16), rgb(0 0 0 / .5)); }
.panel.is-open { display: flex; }
.header { display: flex; align-items: center; gap: .25rem; padding-block: .5rem; padding-inline: 1rem .5rem; border-bottom: 1px solid var(--_line); }
h2 { flex: 1; margin: 0; font-size: 1rem; font-weight: 650; }
.icon-button { display: grid; place-items: center; flex: none; width: 2.25rem; height: 2.25rem; border-radius: 8px; color: var(--_quiet); }
.icon-button:hover { color: var(--_ink); background: var(--_fill); }
.text-button { padding: .35rem .6rem; border-radius: 8px; color: var(--_accent); font-size: .875rem; font-weight: 550; }
.text-button:hover { background: var(--_fill); }
.body-area { overflow-y: auto; overscroll-behavior: contain; }
.message { padding: .75rem 1rem; color: var(--_quiet); font-size: .875rem; overflow-wrap: anywhere; }
.message p { margin: 0 0 .25rem; }
.empty { padding: 2.5rem 1rem; text-align: center; color: var(--_quiet); }
.empty p { margin: 0; }
.empty .empty-title { color: var(--_ink); font-weight: 600; }
.more { display: block; width: 100%; padding: .75rem 1rem; text-align: center; color: var(--_accent); font-size: .875rem; font-weight: 550; }
.more:hover { background: var(--_fill); }
.more:focus-visible, .main:focus-visible, h2:focus-visible { outline-offset: -2px; }

ul { list-style: none; margin: 0; padding: 0; }
.item { display: flex; position: relative; align-items: flex-start; border-bottom: 1px solid var(--_line); }
.main { display: flex; flex: 1; gap: .6rem; min-width: 0; padding-block: .75rem; padding-inline: 1rem .25rem; color: inherit; text-decoration: none; }
.item:last-child { border-bottom: 0; }
.more { border-top: 1px solid var(--_line); }
.item:hover { background: var(--_fill); }
.is-unread .main::before { content: ""; position: absolute; inset-block-start: 1.15rem; inset-inline-start: .3rem; width: .5rem; height: .5rem; border-radius: 50%; background: var(--_accent); }
.picture { flex: none; width: 1.5rem; height: 1.5rem; font-size: 1.25rem; line-height: 1.5rem; text-align: center; }
.picture:empty { display: none; }
.picture img { width: 100%; height: 100%; object-fit: contain; border-radius: 4px; }
.text { display: flex; flex: 1; flex-direction: column; min-width: 0; gap: .1rem; text-align: start; }
.title, .body { overflow-wrap: anywhere; text-align: match-parent; }
.body { color: var(--_quiet); font-size: .9rem; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
.is-unread .title { font-weight: 650; }
time { color: var(--_quiet); font-size: .8rem; }
.actions { display: flex; flex: none; padding-block-start: .5rem; padding-inline-end: .5rem; }

@media (pointer: coarse), (max-width: 480px) {
  .bell, .icon-button, .text-button { min-width: 44px; min-height: 44px; }
}
@media (prefers-reduced-motion: no-preference) {
  .bell, .icon-button, .text-button, .item { transition: background-color .12s; }
  .panel.is-open { animation: appear .14s ease-out; }
  @keyframes appear { from { opacity: 0; transform: translateY(-4px); } }
}
@media (forced-colors: active) {
  .count { border: 1px solid; }
  .is-unread .main::before { forced-color-adjust: none; background: Highlight !important; }
}
`;

let sheet = null;

// Returns the one style sheet that all elements share.
export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
