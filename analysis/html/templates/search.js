"use strict";
/* The search box: experts by number, topics by name, tokens by what they contain. */
(() => {
  const { figures } = moescope;
  const box = document.getElementById("search");
  const list = document.getElementById("found");
  const MOST = { expert: 6, topic: 6, token: 12 };
  let active = -1;

  const plain = (text) => text.toLowerCase().replace(/[·\s␣]/g, "");
  const link = (parts) => `#${new URLSearchParams(parts)}`;

  function entries() {
    const found = [];
    for (const layer of figures.layers) {
      for (let expert = 0; expert < figures.experts; expert += 1) {
        const name = `L${layer}·E${expert}`;
        found.push({ kind: "expert", name, note: "expert", key: plain(name), hash: link({ layer, expert }) });
      }
    }
    for (const topic of figures.topics) {
      found.push({ kind: "topic", name: topic, note: "topic", key: plain(topic), hash: link({ topic }) });
    }
    for (const [token, ...places] of figures.tokens) {
      for (const [layer, expert] of places.slice(0, 3)) {
        const note = `token of L${layer}·E${expert}`;
        found.push({ kind: "token", name: token, note, key: plain(token), hash: link({ layer, expert }) });
      }
    }
    return found;
  }
  let all = null;

  function rankExpert(key, wanted) {
    if (key === wanted) return 0;
    if (key.startsWith(wanted)) return 1;
    return key.endsWith(wanted) && wanted.startsWith("e") ? 2 : -1;
  }

  function matches(query) {
    const wanted = plain(query);
    if (!wanted) return [];
    all ??= entries();
    const number = wanted.replace(/^layer(?=\d)/, "l").replace(/expert(?=\d)/, "e"); // "expert 3" is E3
    const rank = ({ kind, key }) => {
      if (kind === "expert") return rankExpert(key, number);
      if (key === wanted) return 0;
      if (key.startsWith(wanted)) return 1;
      return key.includes(wanted) ? 3 : -1;
    };
    const counts = { expert: 0, topic: 0, token: 0 };
    return all.map((entry) => [rank(entry), entry])
      .filter(([order]) => order >= 0)
      .sort(([a], [b]) => a - b)
      .filter(([, { kind }]) => (counts[kind] += 1) <= MOST[kind])
      .map(([, entry]) => entry);
  }

  function show(found) {
    list.replaceChildren(...found.map(({ name, note, hash }, index) => {
      const item = document.createElement("li");
      item.id = `found-${index}`;
      item.setAttribute("role", "option");
      item.dataset.hash = hash;
      const what = document.createElement("bdi");
      what.textContent = name;
      const kind = document.createElement("small");
      kind.textContent = note;
      item.append(what, " ", kind);
      return item;
    }));
    if (!found.length && box.value.trim()) {
      const none = document.createElement("li");
      none.className = "none";
      none.setAttribute("role", "option");
      none.setAttribute("aria-disabled", "true");
      none.textContent = "nothing found";
      list.append(none);
    }
    list.hidden = !box.value.trim();
    box.setAttribute("aria-expanded", String(!list.hidden));
    mark(found.length ? 0 : -1);
  }

  function mark(index) {
    active = index;
    [...list.children].forEach((item, row) => item.setAttribute("aria-selected", String(row === index)));
    if (index < 0) return box.removeAttribute("aria-activedescendant");
    box.setAttribute("aria-activedescendant", `found-${index}`);
    return list.children[index].scrollIntoView({ block: "nearest" });
  }

  function follow(item) {
    if (!item?.dataset.hash) return;
    close();
    moescope.go(item.dataset.hash);
  }

  function close() {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  box.addEventListener("input", () => show(matches(box.value)));
  box.addEventListener("focus", () => { if (box.value) show(matches(box.value)); });
  box.addEventListener("keydown", (event) => {
    const count = list.querySelectorAll("[data-hash]").length;
    if (event.key === "Escape") close();
    else if (event.key === "Enter") follow(list.children[active]);
    else if (count && event.key === "ArrowDown") mark((active + 1) % count);
    else if (count && event.key === "ArrowUp") mark((active + count - 1) % count);
    else return;
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => { event.preventDefault(); follow(event.target.closest("li")); });
  box.addEventListener("blur", close);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    box.focus();
  });
})();
