// Elements, made in one call; texts are always texts, never markup.

export const $ = (id) => document.getElementById(id);

export function tag(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function table(caption, heads, rows) {
  const cell = (name, value, i) =>
    tag(name, { class: typeof value === "number" || heads[i].startsWith("#") ? "number" : null, scope: name === "th" ? "col" : null, dir: "auto" },
      value instanceof Node ? value : value == null ? "–" : typeof value === "number" ? number(value) : String(value));
  return tag("div", { class: "wide" },
    tag("table", {}, tag("caption", {}, caption),
      tag("thead", {}, tag("tr", {}, ...heads.map((head, i) => cell("th", head, i)).map(bare))),
      tag("tbody", {}, ...rows.map((row) => tag("tr", {}, ...row.map((value, i) => cell("td", value, i)))))));
}

function bare(head) {
  head.textContent = head.textContent.replace(/^#/, "");
  return head;
}

export const number = (x) => (Number.isInteger(x) ? x.toLocaleString("en") : x.toFixed(3));
