// The tabs: which view is shown, with the keys that people expect; and the two views that are tables.

import { $, number, table, tag } from "./dom.js";

export function tabs(opened) {
  const all = [...document.querySelectorAll("[role=tab]")];
  const choose = (tab, focus = true) => {
    for (const each of all) {
      const mine = each === tab;
      each.setAttribute("aria-selected", mine);
      each.tabIndex = mine ? 0 : -1;
      $(each.getAttribute("aria-controls")).hidden = !mine;
    }
    if (focus) tab.focus();
    opened(tab.id.replace("tab-", ""));
  };
  all.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(all[(to + all.length) % all.length]);
    });
  });
  return (name) => choose($(`tab-${name}`), false);
}

export function health(found, states) {
  const gaps = Object.entries(found.modality_gap);
  const parts = [
    tag("h2", {}, "What can be asked with"),
    table("Encoders of this collection", ["modality", "state"], Object.entries(states)),
    tag("h2", {}, "Modality gap"),
    gaps.length
      ? table("Distance between the centres of unit vectors: 0 where modalities lie in one place, up to 2", ["between", "#distance"], gaps)
      : tag("p", {}, "There is one modality alone, so that there is no gap."),
    tag("h2", {}, "Hubs"),
    tag("p", {}, `A hub is an item that is among the first ${found.k} of many questions, whatever they ask. Questions `
      + "here are items of one modality, and hits of another."),
  ];
  for (const hub of found.hubs) {
    const figure = (name) => (hub.after ? `${number(hub.before[name])} → ${number(hub.after[name])}` : number(hub.before[name]));
    parts.push(
      table(
        `${hub.asking} to ${hub.offered}: ${number(hub.questions)} questions, ${number(hub.items)} items`
          + (hub.after ? ", before → after the correction" : ", without a correction"),
        ["figure", "#value"],
        [
          ["skewness of how often items are found (0: evenly)", figure("hubness_skewness")],
          ["share of items that nobody finds", figure("orphan_share")],
          ["most questions that one item answers", figure("max_count")],
          ["questions that each would answer if all were found alike", number(hub.before.evenly)],
        ]),
      tag("details", {}, tag("summary", {}, "The largest hubs"),
        table("Questions that have it among their first", ["item", "#before", "#after"],
          hub.top.map((item) => [item.says, item.before, item.after ?? null]))));
  }
  $("view-health").replaceChildren(...parts);
}

export function methods(found) {
  const measured = (m) => (m.gain == null ? "not yet" : `${m.gain > 0 ? "+" : ""}${m.gain.toFixed(3)} ± ${m.half.toFixed(3)}`);
  const verdict = (m) => (m.holds == null ? "–" : m.holds ? "holds" : "does not hold");
  $("view-methods").replaceChildren(
    tag("h2", {}, "The catalogue"),
    tag("p", {}, "Published methods, each with the claim that was made before it was measured against its baseline at equal "
      + "effort. What does not hold is shown as such."),
    table(`${found.length} methods`, ["method", "family", "#year", "claim", "#measured", "verdict"],
      found.map((m) => [tag("span", { title: m.title }, `${m.name}: ${m.title}`), m.family, String(m.year), m.claim, measured(m), verdict(m)])));
}
