// How the page talks to the server: JSON in both directions, with the key where one is needed.

const KEY = "isthmus-key";

export const key = () => sessionStorage.getItem(KEY);
export const keep = (value) => sessionStorage.setItem(KEY, value);

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers, ...(key() ? { Authorization: `Bearer ${key()}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer. Is it running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Refusal(answer.status, said?.error?.message ?? `the server answered ${answer.status}`);
}

export const get = async (path) => (await request(path)).json();

export const post = async (path, body, signal) =>
  (await request(path, { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();

export const at = (collection, rest, query) =>
  `/v1/collections/${encodeURIComponent(collection)}${rest}${query ? `?${new URLSearchParams(query)}` : ""}`;

// An element cannot send a key, so that with one the content is fetched first.
export async function contentOf(collection, id, size = 256) {
  const path = at(collection, "/content", { id, size });
  return key() ? URL.createObjectURL(await (await request(path)).blob()) : path;
}

export const blobOf = async (collection, id, size = 768) =>
  (await request(at(collection, "/content", { id, size }))).blob();
