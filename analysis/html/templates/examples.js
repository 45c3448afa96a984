"use strict";
/* The token viewer: one document at a time, every token in the colour of its first expert. */
(() => {
  const data = moescope.figures.viewer;
  if (!data) return;
  const byId = (name) => document.getElementById(`viewer-${name}`);
  const tokens = byId("tokens");
  const detail = byId("detail");
  const COLOURS = 8, TURNS = 8, ONE_COLUMN = 12; // layers in the detail box before it takes columns
  const layers = moescope.figures.layers;
  const state = { topic: "", document: 0, expert: -1, order: [], active: -1 };

  function unpack(text, bytes) {
    const raw = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return bytes === 2 ? new Uint16Array(raw.buffer) : raw;
  }

  function decoded(own) {
    own.experts ??= unpack(own.chosen, data.bytes);
    own.gates ??= unpack(own.weights, 1);
    return own;
  }

  const at = (layer, token) => (token * layers.length + layer) * data.slots;

  /* Executed experts of a token in a layer, the heaviest first. */
  function choices(own, layer, token) {
    const start = at(layer, token);
    return Array.from({ length: data.slots }, (_, slot) => ({
      expert: own.experts[start + slot], weight: own.gates[start + slot] * data.unit,
    })).filter(({ expert }) => expert < data.experts).sort((a, b) => b.weight - a.weight);
  }

  const firstExpert = (own, token) => choices(own, moescope.state.layer, token)[0]?.expert ?? -1;

  function shares(own) {
    const counts = new Array(data.experts).fill(0);
    own.true.forEach((_, token) => { const e = firstExpert(own, token); if (e >= 0) counts[e] += 1; });
    return counts.map((count) => count / own.true.length);
  }

  const looks = (expert) => (expert < 0 ? "no-expert" : `c${expert % COLOURS} t${Math.floor(expert / COLOURS) % TURNS}`);

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  /* The documents that the filters leave: those of an expert by how much they use it. */
  function arrange() {
    const rows = data.documents.map((own, row) => row).filter((row) => !state.topic || data.documents[row].topic === state.topic);
    if (state.expert >= 0) {
      const use = new Map(rows.map((row) => [row, shares(decoded(data.documents[row]))[state.expert]]));
      rows.sort((a, b) => use.get(b) - use.get(a));
    }
    state.order = rows;
    if (!rows.includes(state.document)) state.document = rows[0];
    byId("document").replaceChildren(...rows.map((row, place) => {
      const { id, topic } = data.documents[row];
      const option = element("option", "", `${place + 1}. ${topic} · ${id}`);
      option.value = row;
      option.selected = row === state.document;
      return option;
    }));
  }

  function legend(own) {
    const here = shares(own);
    const layer = layers[moescope.state.layer];
    byId("legend").replaceChildren(...here.map((share, expert) => {
      const button = element("button", looks(expert), `E${expert}`);
      button.type = "button";
      button.dataset.expert = expert;
      button.append(element("small", "", ` ${Math.round(100 * share)}%`));
      button.setAttribute("aria-label", `L${layer}·E${expert}, ${Math.round(100 * share)}% of the tokens`);
      button.setAttribute("aria-pressed", String(expert === state.expert));
      return button;
    }));
  }

  function tokenElement(own, token) {
    const expert = firstExpert(own, token);
    const kind = Number(own.mask_kinds[token]);
    const made = element("span", `tok ${looks(expert)}`);
    made.id = `token-${token}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", "false");
    if (kind) made.classList.add(`was-${kind}`);
    if (state.expert >= 0 && expert !== state.expert) made.classList.add("dim");
    const shown = own.input[token];
    made.append(element("bdi", "", data.tokens[shown ?? own.true[token]]));
    if (shown !== undefined) made.append(element("s", "", data.tokens[own.true[token]].trim()));
    const predicted = own.predicted[token];
    if (predicted && kind && predicted[0] !== own.true[token]) made.append(element("em", "", `→${data.tokens[predicted[0]].trim()}`));
    made.append(element("sup", "", expert < 0 ? "–" : expert));
    return made;
  }

  function show() {
    if (state.document === undefined) return;
    const own = decoded(data.documents[state.document]);
    const labels = Object.keys(own.predicted).length;
    const right = Object.entries(own.predicted).filter(([token, [best]]) => best === own.true[token]).length;
    const known = labels ? `; ${labels} predicted, ${right} of them right` : "";
    byId("facts").textContent = `Document ${state.order.indexOf(state.document) + 1} of ${state.order.length}: “${own.topic}”, ${own.id}. n = ${own.true.length} tokens${known}. Layer ${layers[moescope.state.layer]}. Baseline: an even share of first choices, ${(100 / data.experts).toPrecision(3)}%.`;
    legend(own);
    tokens.replaceChildren(...own.true.map((_, token) => tokenElement(own, token)));
    tokens.scrollTop = 0;
    hide();
  }

  function describe(own, token) {
    const kind = Number(own.mask_kinds[token]);
    const predicted = own.predicted[token];
    const made = [element("p", "what")];
    made[0].append(element("bdi", "", data.tokens[own.true[token]].trim() || "␣"), ` · token ${token}, ${data.mask_kinds[kind]}`);
    if (own.input[token] !== undefined) made.push(element("p", "", `the model saw ${data.tokens[own.input[token]].trim()}`));
    if (predicted) {
      const verdict = predicted[0] === own.true[token] ? "right" : "wrong";
      made.push(element("p", "", `predicted “${data.tokens[predicted[0]].trim()}” (${verdict}), loss ${predicted[1]} nats`));
    }
    const list = element("ul");
    layers.forEach((name, layer) => {
      const item = element("li", layer === moescope.state.layer ? "here" : "");
      const parts = choices(own, layer, token).map(({ expert, weight }) => `E${expert} ${weight.toFixed(2)}`);
      item.append(element("b", "", `L${name} `), parts.join(" · ") || "no expert");
      list.append(item);
    });
    made.push(list);
    return made;
  }

  function point(token) {
    const own = decoded(data.documents[state.document]);
    if (token < 0 || token >= own.true.length) return;
    tokens.children[state.active]?.setAttribute("aria-selected", "false");
    state.active = token;
    const chosen = tokens.children[token];
    chosen.setAttribute("aria-selected", "true");
    tokens.setAttribute("aria-activedescendant", chosen.id);
    detail.replaceChildren(...describe(own, token));
    detail.hidden = false;
    const here = detail.querySelector(".here");
    detail.scrollTop = here.offsetTop + here.offsetHeight / 2 - detail.clientHeight / 2;
    const box = chosen.getClientRects()[0], { offsetWidth: width, offsetHeight: height } = detail;
    const below = box.bottom + 8 + height < innerHeight;
    detail.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    detail.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px`;
  }

  function hide() {
    tokens.children[state.active]?.setAttribute("aria-selected", "false");
    tokens.removeAttribute("aria-activedescendant");
    state.active = -1;
    detail.hidden = true;
  }

  function refresh() {
    arrange();
    show();
  }

  function step(by) {
    const { order } = state;
    state.document = order[(order.indexOf(state.document) + by + order.length) % order.length];
    byId("document").value = state.document;
    show();
  }

  const tokenOf = (target) => Number(target.closest(".tok")?.id.slice("token-".length) ?? -1);
  tokens.addEventListener("pointerover", ({ target }) => { if (target.closest(".tok")) point(tokenOf(target)); });
  tokens.addEventListener("click", ({ target }) => { if (target.closest(".tok")) point(tokenOf(target)); });
  tokens.addEventListener("pointerleave", ({ pointerType }) => { if (pointerType === "mouse") hide(); });
  tokens.addEventListener("blur", hide);
  tokens.addEventListener("keydown", (event) => {
    const last = tokens.children.length - 1;
    const places = { ArrowRight: state.active + 1, ArrowLeft: state.active - 1, ArrowDown: state.active + 10, ArrowUp: state.active - 10, Home: 0, End: last };
    if (event.key === "Escape") return hide();
    if (!(event.key in places)) return undefined;
    event.preventDefault();
    point(Math.max(0, Math.min(last, places[event.key])));
    return tokens.children[state.active].scrollIntoView({ block: "nearest" });
  });
  addEventListener("scroll", () => { if (!detail.hidden && document.activeElement !== tokens) hide(); }, { passive: true });
  byId("legend").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const expert = Number(button.dataset.expert);
    state.expert = state.expert === expert ? -1 : expert;
    refresh();
    byId("legend").querySelector(`[data-expert="${expert}"]`).focus();
  });
  byId("topic").addEventListener("change", ({ target }) => { state.topic = target.value; refresh(); });
  byId("document").addEventListener("change", ({ target }) => { state.document = Number(target.value); show(); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("numbers").addEventListener("change", ({ target }) => tokens.classList.toggle("numbered", target.checked));
  moescope.onLayer(() => (drawn ? refresh() : undefined));

  for (const topic of new Set(data.documents.map((own) => own.topic))) {
    byId("topic").append(Object.assign(element("option", "", topic), { value: topic }));
  }
  detail.classList.toggle("many", layers.length > ONE_COLUMN);
  if (data.experts > COLOURS) { byId("numbers").checked = true; tokens.classList.add("numbered"); }
  let drawn = false;
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    drawn = true;
    refresh();
  }, { rootMargin: "600px" }).observe(document.getElementById("viewer"));
  addEventListener("beforeprint", () => { if (!drawn) { drawn = true; refresh(); } });
})();
