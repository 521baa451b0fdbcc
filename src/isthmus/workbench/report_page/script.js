// The page is complete without this: it only filters the gallery and moves the map.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  const asked = all(".asked");
  const chosen = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;
  const filter = () => {
    const direction = chosen("direction"), variant = chosen("variant") ?? "*";
    let shown = 0;
    for (const row of asked) {
      const { direction: d, variant: v, mixed } = row.dataset;
      const fits = (!direction || d === direction) && (variant === "*" ? mixed !== undefined : v === variant);
      row.classList.toggle("other", !fits);
      shown += fits;
    }
    const none = document.querySelector(".none");
    if (none) none.hidden = shown > 0;
  };
  all("fieldset input").forEach((input) => input.addEventListener("change", filter));
  if (asked.length) filter();

  const map = document.querySelector(".map");
  if (!map) return;
  const world = map.querySelector(".world"), tip = map.querySelector(".tip"), points = all(".point", world);
  const find = document.getElementById("find");
  let zoom = 1;

  const zoomBy = (factor, x = map.clientWidth / 2, y = map.clientHeight / 2) => {
    const next = Math.min(8, Math.max(1, zoom * factor)), ratio = next / zoom;
    const left = (map.scrollLeft + x) * ratio - x, top = (map.scrollTop + y) * ratio - y;
    zoom = next;
    world.style.setProperty("--z", zoom);
    map.scrollTo({ left, top, behavior: "instant" });
  };
  all("[data-zoom]").forEach((button) => button.addEventListener("click", () => zoomBy(+button.dataset.zoom)));
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // plain turning scrolls the page
    event.preventDefault();
    const box = map.getBoundingClientRect();
    zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "-") zoomBy(event.key === "+" ? 1.5 : 1 / 1.5);
  });

  let held = null;
  map.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") held = [event.clientX, event.clientY];
  });
  addEventListener("pointermove", (event) => {
    if (!held) return;
    map.scrollBy({ left: held[0] - event.clientX, top: held[1] - event.clientY, behavior: "instant" });
    held = [event.clientX, event.clientY];
  });
  addEventListener("pointerup", () => { held = null; });

  const link = world.querySelector(".link");
  const joined = (one, others) => { // lines from an item to its partners
    const box = world.getBoundingClientRect(), middle = (point) => {
      const at = point.getBoundingClientRect();
      return [at.left + at.width / 2 - box.left - world.clientLeft, at.top + at.height / 2 - box.top - world.clientTop];
    };
    const [x, y] = middle(one);
    link.innerHTML = others.map(middle).map(([u, v]) => `<line x1="${x}" y1="${y}" x2="${u}" y2="${v}"/>`).join("");
  };
  const light = (test) => points.forEach((point) => point.classList.toggle("lit", test(point)));
  const sought = () => {
    const word = find?.value.trim().toLowerCase();
    map.classList.toggle("seeking", Boolean(word));
    light((point) => Boolean(word) && point.dataset.n.toLowerCase().includes(word));
  };
  find?.addEventListener("input", sought);
  world.addEventListener("pointerover", (event) => {
    const point = event.target.closest(".point");
    if (!point) return;
    const partners = points.filter((other) => other.dataset.k === point.dataset.k && !other.hidden);
    if (!map.classList.contains("seeking")) light((other) => partners.includes(other));
    joined(point, partners.filter((other) => other !== point));
    tip.textContent = `${point.dataset.n} · ${point.dataset.m}`;
    tip.hidden = false;
    const box = map.getBoundingClientRect(), at = point.getBoundingClientRect();
    const x = at.left - box.left + at.width / 2 - tip.offsetWidth / 2;
    tip.style.left = `${map.scrollLeft + Math.max(4, Math.min(x, map.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${map.scrollTop + at.bottom - box.top + (at.bottom - box.top > map.clientHeight - 60 ? -at.height - 34 : 8)}px`;
  });
  world.addEventListener("pointerout", () => {
    tip.hidden = true;
    link.replaceChildren();
    if (!map.classList.contains("seeking")) light(() => false);
  });
  all("input[name=layout]").forEach((input) => input.addEventListener("change", () => {
    world.classList.toggle("second", input.checked && input.value === "1");
  }));
  all("input[name=kind]").forEach((box) => box.addEventListener("change", () => {
    for (const point of points) if (point.dataset.m === box.value) point.hidden = !box.checked;
  }));
})();
