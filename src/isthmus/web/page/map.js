// The map: a canvas to zoom and drag, with pictures once there is room for them.

import { contentOf } from "./api.js";
import { $, tag } from "./dom.js";

const COLOURS = ["#0b8a86", "#c2571a", "#6a4fb3", "#8a8a1f", "#b3366b"];
const THUMB = 44;

export class Plane {
  constructor(canvas, says, chosen) {
    this.canvas = canvas;
    this.says = says;
    this.chosen = chosen;
    this.points = [];
    this.pictures = new Map();
    this.pointers = new Map();
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#up(event));
    canvas.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(collection, points) {
    this.collection = collection;
    this.points = points;
    this.pictures.clear();
    this.kinds = [...new Set(points.map((p) => p.modality))];
    $("legend").replaceChildren(...this.kinds.flatMap((kind, i) => {
      const dot = tag("span", { class: "key", "aria-hidden": "true" });
      dot.style.background = COLOURS[i % COLOURS.length];
      return [dot, kind];
    }));
    this.all();
  }

  all() {
    this.zoom = 1;
    this.x = this.y = 0.5;
    this.draw();
  }

  scale(factor, at) {
    const zoom = Math.max(1, Math.min(40, this.zoom * factor));
    if (at) { // what is under the pointer stays there
      const [px, py] = this.#there(at);
      this.x = px - (px - this.x) * this.zoom / zoom;
      this.y = py - (py - this.y) * this.zoom / zoom;
    }
    this.zoom = zoom;
    this.draw();
  }

  shift(dx, dy) {
    this.x = Math.max(0, Math.min(1, this.x + dx / this.zoom));
    this.y = Math.max(0, Math.min(1, this.y + dy / this.zoom));
    this.draw();
  }

  get size() { return [this.canvas.clientWidth, this.canvas.clientHeight]; }

  #here(point) {
    const [w, h] = this.size;
    const inner = 0.92 * this.zoom;
    return [w / 2 + (point.x - this.x) * w * inner, h / 2 + (point.y - this.y) * h * inner];
  }

  #there([px, py]) {
    const [w, h] = this.size;
    const inner = 0.92 * this.zoom;
    return [this.x + (px - w / 2) / (w * inner), this.y + (py - h / 2) / (h * inner)];
  }

  draw() {
    const [w, h] = this.size;
    if (!w || !this.points.length) return;
    const dense = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(w * dense) || this.canvas.height !== Math.round(h * dense)) {
      this.canvas.width = Math.round(w * dense);
      this.canvas.height = Math.round(h * dense);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, w, h);
    const light = !matchMedia("(prefers-color-scheme: dark)").matches;
    const ink = getComputedStyle(document.body).color;
    const seen = this.points.filter((p) => {
      [p.px, p.py] = this.#here(p);
      return p.px > -THUMB && p.px < w + THUMB && p.py > -THUMB && p.py < h + THUMB;
    });
    const roomy = seen.length < 3 * (w * h) / (THUMB * THUMB) || this.zoom > 2;
    const side = Math.min(2 * THUMB, THUMB * (0.55 + 0.45 * Math.sqrt(this.zoom)));
    for (const p of seen) {
      const colour = COLOURS[this.kinds.indexOf(p.modality) % COLOURS.length];
      const picture = p.modality === "image" && roomy ? this.#picture(p) : null;
      if (picture) {
        const k = side / Math.max(picture.width, picture.height), [w, h] = [k * picture.width, k * picture.height];
        pen.globalCompositeOperation = light ? "multiply" : "source-over"; // white grounds hide no neighbour
        pen.drawImage(picture, p.px - w / 2, p.py - h / 2, w, h);
        pen.globalCompositeOperation = "source-over";
      } else {
        pen.fillStyle = colour;
        pen.beginPath();
        pen.arc(p.px, p.py, 4, 0, 7);
        pen.fill();
      }
      if (this.zoom > 6 && p.modality !== "image") {
        pen.fillStyle = ink;
        pen.fillText(p.says.slice(0, 30), p.px + 7, p.py + 4);
      }
      if (p === this.near) {
        pen.strokeStyle = colour;
        pen.lineWidth = 3;
        pen.strokeRect(p.px - side / 2 - 2, p.py - side / 2 - 2, side + 4, side + 4);
      }
    }
    this.seen = seen;
  }

  #picture(point) {
    if (!this.pictures.has(point.id)) {
      this.pictures.set(point.id, null);
      const image = new Image();
      image.onload = () => {
        this.pictures.set(point.id, image);
        cancelAnimationFrame(this.waiting);
        this.waiting = requestAnimationFrame(() => this.draw());
      };
      contentOf(this.collection, point.id, 96).then((url) => { image.src = url; }, () => {});
    }
    return this.pictures.get(point.id);
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #wheel(event) {
    event.preventDefault();
    this.scale(Math.exp(-event.deltaY / 400), this.#at(event));
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
    this.moved = 0;
  }

  #move(event) {
    const now = this.#at(event), before = this.pointers.get(event.pointerId);
    if (!before) return this.#point(now);
    const [w, h] = this.size;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    if (others.length) { // two fingers zoom
      const far = (p) => Math.hypot(p[0] - others[0][0], p[1] - others[0][1]) || 1;
      this.scale(far(now) / far(before), others[0]);
    } else {
      this.shift((before[0] - now[0]) / (0.92 * w), (before[1] - now[1]) / (0.92 * h));
    }
    this.moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    this.pointers.set(event.pointerId, now);
  }

  #up(event) {
    const there = this.pointers.delete(event.pointerId);
    if (there && event.type === "pointerup" && this.moved < 5) {
      this.#point(this.#at(event));
      if (this.near) this.chosen(this.near);
    }
  }

  #point([x, y]) {
    let near = null, least = 30;
    for (const p of this.seen ?? []) {
      const far = Math.hypot(p.px - x, p.py - y);
      if (far < least) [near, least] = [p, far];
    }
    this.#focus(near);
  }

  #focus(point) {
    if (point === this.near) return;
    this.near = point;
    if (point) this.says(`${point.says} (${point.modality})`);
    this.draw();
  }

  #press(event) {
    const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (event.key in steps) this.shift(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") this.scale(1.3);
    else if (event.key === "-") this.scale(1 / 1.3);
    else if (event.key === "0") this.all();
    else if (event.key === "n" || event.key === "p") {
      const i = this.seen.indexOf(this.near) + (event.key === "n" ? 1 : -1);
      this.#focus(this.seen[(i + this.seen.length) % this.seen.length] ?? null);
    } else if (event.key === "Enter" && this.near) this.chosen(this.near);
    else return;
    event.preventDefault();
  }
}
