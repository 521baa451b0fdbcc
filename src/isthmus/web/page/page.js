// The page: what is asked with, the search, and the hits.

import { Refusal, at, blobOf, contentOf, get, keep, post } from "./api.js";
import { $, tag } from "./dom.js";
import { Plane } from "./map.js";
import { recording, wavOf } from "./sound.js";
import { health, methods, tabs } from "./tabs.js";

const RECORDINGS = ["speech", "sound", "audio"];
const given = { image: null, sound: null }; // {blob, url, name}
let collections = [];
let searching = null; // the search that is under way, to be given up when the next one starts

const here = () => collections.find((c) => c.name === $("collection").value);

// ---------------------------------------------------------------- starting

async function start() {
  try {
    collections = (await get("/v1/collections")).collections;
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return door();
    return tell(error.message, true);
  }
  if (!collections.length) return tell("This server serves spaces alone: there is nothing to search.", true);
  $("collection").replaceChildren(...collections.map((c) => tag("option", {}, c.name)));
  opened();
  const asked = new URLSearchParams(location.hash.slice(1)).get("q");
  if (asked) {
    $("text").value = asked;
    search();
  }
}

function door() {
  $("door").showModal();
  $("door").onclose = () => {
    if ($("key").value) keep($("key").value);
    $("key").value = "";
    start();
  };
}

// A collection was chosen: what it can be asked with, and what it holds.
function opened() {
  const c = here();
  const held = Object.entries(c.rows);
  $("kinds").replaceChildren(tag("legend", {}, "Of"),
    ...held.map(([name, n]) => tag("label", { class: "check" },
      tag("input", { type: "checkbox", value: name }), `${name} (${n.toLocaleString("en")})`)));
  $("correct-label").hidden = !Object.keys(c.corrected).length;
  $("pick-image").hidden = !c.asks.includes("image");
  const hears = RECORDINGS.some((m) => c.asks.includes(m));
  $("pick-sound").hidden = $("record").hidden = !hears;
  $("text").disabled = !c.asks.includes("text");
  clear();
  shown.clear();
  const tab = document.querySelector("[role=tab][aria-selected=true]").id.replace("tab-", "");
  if (tab !== "search") view(tab);
}

function clear() {
  searching?.abort();
  searching = null;
  for (const kind of Object.keys(given)) give(kind, null);
  for (const id of ["text", "minus", "where"]) $(id).value = "";
  $("hits").replaceChildren();
  $("empty").hidden = false;
  tell(Object.entries(here()?.rows ?? {}).map(([m, n]) => `${n.toLocaleString("en")} ${m}`).join(", "));
}

function tell(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

// ---------------------------------------------------------------- what is asked with

function give(kind, blob, name = "") {
  if (given[kind]) URL.revokeObjectURL(given[kind].url);
  given[kind] = blob && { blob, name, url: URL.createObjectURL(blob) };
  $("given").replaceChildren(...Object.entries(given).filter(([, value]) => value).map(([what, { url, name: called }]) => {
    const words = what === "image" ? "picture" : "recording";
    return tag("li", {},
      what === "image" ? tag("img", { src: url, alt: `The picture to look for${called ? `: ${called}` : ""}` })
        : tag("audio", { src: url, controls: true, "aria-label": "The recording to look for" }),
      tag("button", { type: "button", "aria-label": `Remove the ${words}`, onclick: () => { give(what, null); $("text").focus(); } }, "×"));
  }));
}

async function take(file) {
  if (!file) return;
  if (file.type.startsWith("image/") && here().asks.includes("image")) give("image", file, file.name);
  else if (file.type.startsWith("audio/") && !$("record").hidden) {
    try {
      give("sound", await wavOf(file), file.name);
    } catch {
      return tell(`${file.name}: the recording cannot be read`, true);
    }
  } else return tell(`${file.name}: this collection is not searched with ${file.type || "such a file"}`, true);
  search();
}

const uriOf = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

let stop = null; // ends the recording that is under way
async function record() {
  try {
    if (!stop) {
      stop = await recording();
      tell("Recording. Press again to end it.");
    } else {
      const end = stop;
      stop = null;
      give("sound", await end(), "recording");
      search();
    }
  } catch (error) {
    stop = null;
    tell(`The microphone cannot be used: ${error.message}`, true);
  }
  $("record").setAttribute("aria-pressed", Boolean(stop));
}

// ---------------------------------------------------------------- searching

async function search() {
  const text = $("text").value.trim();
  const minus = $("minus").value.split(";").map((word) => word.trim()).filter(Boolean);
  if (!text && !given.image && !given.sound) return tell("Give words, a picture or a recording to look for.", true);
  searching?.abort();
  const mine = searching = new AbortController();
  tell("Searching …");
  const kinds = [...$("kinds").querySelectorAll("input:checked")].map((box) => box.value);
  const name = here().name;
  try {
    const body = { k: Number($("k").value), minus, corrected: $("corrected").checked };
    if (text) body.text = text;
    for (const [kind, value] of Object.entries(given)) if (value) body[kind] = await uriOf(value.blob);
    if (kinds.length) body.modality = kinds;
    if ($("where").value.trim()) body.where = $("where").value.trim();
    body.explain = minus.length + ["text", "image", "sound"].filter((each) => body[each]).length > 1;
    const started = performance.now();
    const found = await post(at(name, "/search"), body, mine.signal);
    if (mine !== searching) return;
    history.replaceState(null, "", text ? `#${new URLSearchParams({ q: text })}` : location.pathname);
    $("empty").hidden = true;
    $("hits").replaceChildren(...found.hits.map((hit, i) => card(name, hit, i)));
    const scores = found.hits.length ? "" : body.where ? ": no item fits the filter" : "";
    tell(`${found.hits.length} ${found.hits.length === 1 ? "hit" : "hits"}${scores} in ${Math.round(performance.now() - started)} ms`
      + (found.corrected ? ", hubs taken out" : ""));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error instanceof Refusal && error.status === 401) return door();
    $("hits").replaceChildren();
    tell(error.message, true);
  }
}

function card(collection, hit, i) {
  const name = hit.meta.name || hit.text || hit.key;
  const parts = [];
  if (hit.modality === "image") {
    const image = tag("img", { alt: name, loading: "lazy", width: 256, height: 256 });
    contentOf(collection, hit.id).then((url) => { image.src = url; }, () => image.parentElement.replaceWith(quote(hit, name)));
    image.addEventListener("error", () => image.parentElement?.replaceWith(quote(hit, name)));
    parts.push(tag("figure", {}, image));
  } else if (RECORDINGS.includes(hit.modality)) {
    const player = tag("audio", { controls: true, preload: "none", "aria-label": `Recording: ${name}` });
    contentOf(collection, hit.id).then((url) => { player.src = url; }, () => player.remove());
    parts.push(player, quote(hit, name));
  } else parts.push(quote(hit, name));
  const bar = tag("i");
  bar.style.width = `${100 * Math.max(0, Math.min(1, hit.score))}%`;
  const facts = { id: hit.id, ...(hit.variant ? { variant: hit.variant } : {}), ...hit.meta };
  const link = /^https?:/.test(hit.uri ?? "") ? tag("a", { href: hit.uri, rel: "noreferrer noopener", target: "_blank" }, hit.uri) : null;
  return tag("li", { class: "hit", tabindex: i ? -1 : 0, "aria-label": `${i + 1}: ${name}, ${hit.modality}, score ${hit.score.toFixed(3)}`,
    onkeydown: (event) => { if (event.key === "Enter" && event.target === event.currentTarget) like(collection, hit); } },
    ...parts,
    tag("div", { class: "what" },
      hit.modality === "image" ? tag("span", { class: "name", dir: "auto" }, name) : null,
      tag("span", { class: "facts" }, tag("span", {}, hit.variant ? `${hit.modality} · ${hit.variant}` : hit.modality),
        tag("span", { title: "score: the cosine, less what the correction takes off" }, hit.score.toFixed(3))),
      hit.parts ? tag("span", { class: "why" }, Object.entries(hit.parts).map(([part, x]) => `${part} ${x.toFixed(2)}`).join(" · ")) : null,
      tag("span", { class: "meter", "aria-hidden": "true" }, bar)),
    tag("button", { type: "button", "aria-label": `More like ${name}`, onclick: () => like(collection, hit) }, "More like this"),
    tag("details", {}, tag("summary", {}, "What is known of it"),
      tag("dl", {}, ...Object.entries(facts).flatMap(([key, value]) => [tag("dt", {}, key), tag("dd", { dir: "auto" }, value)]),
        ...(link ? [tag("dt", {}, "link"), tag("dd", {}, link)] : []))));
}

const quote = (hit, name) => tag("blockquote", { dir: "auto", lang: /^[a-z]{2}(-|$)/.test(hit.variant) ? hit.variant : null }, hit.text || name);

// Looks for more like an item: with its picture or recording, or with its words where it is but a text.
async function like(collection, hit) {
  tabTo("search");
  const kind = hit.modality === "image" ? "image" : RECORDINGS.includes(hit.modality) ? "sound" : null;
  for (const each of Object.keys(given)) give(each, null);
  $("minus").value = "";
  try {
    if (!kind) throw new Refusal(404, "");
    $("text").value = "";
    give(kind, await blobOf(collection, hit.id), hit.key);
  } catch {
    $("text").value = hit.text || hit.says || hit.meta?.name || hit.key;
  }
  $("text").focus();
  search();
}

// ---------------------------------------------------------------- the other views

const shown = new Map(); // view → what it was made of
const plane = new Plane($("plane"), (text) => { $("map-says").textContent = text; }, async (point) => {
  const collection = here().name;
  like(collection, await get(at(collection, "/item", { id: point.id })));
});

async function view(name) {
  const collection = here()?.name;
  if (name === "search" || shown.has(name) || !collection) return;
  shown.set(name, collection);
  const place = name === "map" ? $("map-says") : $(`view-${name}`);
  place.textContent = "A moment …";
  try {
    if (name === "map") {
      const found = await get(at(collection, "/map"));
      plane.show(collection, found.points);
      $("plane").setAttribute("aria-label", `Map of ${found.points.length} items; + and − zoom, arrows move, n and p go through the items`);
      place.textContent = `${found.points.length} items, drawn by chance. ${Math.round(100 * found.kept)} % of ten nearest neighbours are `
        + "neighbours here too. The gap between modalities is set aside, as a search does.";
    } else if (name === "health") {
      const [found, states] = await Promise.all([get(at(collection, "/diagnosis")), get("/v1/encoders")]);
      health(found, states[collection]);
    } else methods((await get("/v1/methods")).methods);
  } catch (error) {
    shown.delete(name);
    place.replaceChildren(tag("p", { class: "wrong" }, error.message));
  }
}

const tabTo = tabs(view);

// ---------------------------------------------------------------- what people do

$("ask").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("collection").addEventListener("change", opened);
for (const kind of ["image", "sound"]) {
  $(`pick-${kind}`).addEventListener("click", () => $(`${kind}-file`).click());
  $(`${kind}-file`).addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
}
$("record").addEventListener("click", record);
for (const [id, factor] of [["zoom-in", 1.5], ["zoom-out", 1 / 1.5]]) $(id).addEventListener("click", () => plane.scale(factor));
$("zoom-all").addEventListener("click", () => plane.all());
for (const id of ["k", "kinds", "corrected"]) $(id).addEventListener("change", () => { if ($("hits").children.length) search(); });

document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => /^(image|audio)\//.test(each.type));
  if (file) {
    event.preventDefault();
    take(file);
  }
});
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  tabTo("search");
  take(event.dataTransfer.files[0]);
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    tabTo("search");
    $("text").focus();
  } else if (event.key === "Escape" && !$("door").open && !$("view-search").hidden) {
    clear();
    $("text").focus();
  } else if (["ArrowLeft", "ArrowRight"].includes(event.key) && event.target.classList?.contains("hit")) {
    const step = (event.key === "ArrowRight") === (document.dir !== "rtl") ? "nextElementSibling" : "previousElementSibling";
    const next = event.target[step];
    if (next) {
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }
});

start();
