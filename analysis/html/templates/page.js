"use strict";
/* Figures, controls and links of a page; `moescope` is what its other scripts may use. */
const moescope = (() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const state = { layer: 0, hidden: new Set(), linkedTopic: null, theme: null, paper: false };
  const layerListeners = [];
  const CONFIG = {
    responsive: true, displayModeBar: false, displaylogo: false,
    showSendToCloud: false, plotlyServerURL: "",
  };
  const THEMES = {
    light: { ink: "#1c2126", grid: "#e2e5e9", ground: "#ffffff" },
    dark: { ink: "#dfe3e7", grid: "#2e353d", ground: "#1c2127" },
  };
  const DARK_DIVERGING = [
    [0, "#6cb6ee"], [0.25, "#2f6a97"], [0.5, "#1f252b"], [0.75, "#a5513c"], [1, "#f79171"],
  ];

  const CELL = 10, LETTER = 7, BESIDE = 90, ABOVE = 56; // px: the narrowest cell, a letter, a colour bar
  const PAPER = 680, FINE = 8; // px: the width of a figure on A4 or letter; columns below it touch
  const BAR_ABOVE = { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom", lenmode: "pixels", len: 150 };

  const themeName = () => state.theme ?? (systemDark.matches ? "dark" : "light");

  function themed(layout) {
    const name = themeName();
    const { ink, grid, ground } = THEMES[name];
    const halo = Array(4).fill(`0 0 2px ${ground}`).join(","); // a label hides no curve, and stays legible
    const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid };
    const template = {
      layout: {
        font: { color: ink }, annotationdefaults: { font: { shadow: halo } }, xaxis: axis, yaxis: axis,
        hoverlabel: { bgcolor: ground, bordercolor: grid, font: { color: ink } },
      },
    };
    const result = { ...layout, template };
    if (name === "dark" && layout.meta?.diverging) {
      result.coloraxis = { ...layout.coloraxis, colorscale: DARK_DIVERGING };
    }
    return result;
  }

  function filtered(trace) {
    const meta = trace.meta ?? {};
    if (meta.topic !== undefined) return { ...trace, visible: !state.hidden.has(meta.topic) };
    if (!meta.topic_rows) return trace;
    const kept = meta.topic_rows.flatMap((topic, row) => (state.hidden.has(topic) ? [] : [row]));
    const result = { ...trace };
    const keys = ["y", "z", "text", "hovertext", "customdata", "base"];
    if (trace.type !== "heatmap") keys.push("x");
    for (const key of keys) {
      if (Array.isArray(trace[key])) result[key] = kept.map((row) => trace[key][row]);
    }
    return result;
  }

  const onPhone = () => narrow.matches && !state.paper;
  const heatmapOf = (view) => view.data.find(({ type }) => type === "heatmap");

  /* On a phone a colour bar lies above the cells, and a finger scrolls the page, not the axes. */
  function forPhone(view) {
    const layout = { ...view.layout, ...view.layout.meta?.narrow, dragmode: false };
    layout.font = { ...layout.font, size: 12 };
    const map = heatmapOf(view);
    if (!map || map.showscale === false) return { ...view, layout };
    layout.height += ABOVE;
    const above = ({ colorbar = {}, ...owner }) => {
      const title = { ...colorbar.title, side: "top" };
      return { ...owner, colorbar: { ...colorbar, ...BAR_ABOVE, title } };
    };
    if (layout.coloraxis) layout.coloraxis = above(layout.coloraxis);
    return { layout, data: view.data.map((trace) => (trace === map ? above(trace) : trace)) };
  }

  /* What a plot shows in the chosen layer; nothing where the layer has none. */
  function viewOf(plot) {
    const views = figures.panels[plot.dataset.panel];
    const view = views[figures.layers[state.layer]] ?? views[""];
    return view && onPhone() ? forPhone(view) : view;
  }

  /* Gives every cell of a heatmap its width: what does not fit the screen scrolls sideways. */
  function makeRoom(plot) {
    const view = viewOf(plot);
    if (!view) return;
    plot.style.minHeight = `${view.layout.height}px`;
    const map = heatmapOf(view);
    if (!map) return;
    const labels = LETTER * Math.max(...map.y.map((label) => String(label).length));
    const around = labels + (onPhone() ? 0 : BESIDE);
    plot.style.minWidth = state.paper ? "" : `${around + CELL * map.x.length}px`;
    const frame = plot.parentElement;
    if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;
    else frame.removeAttribute("tabindex");
  }

  function draw(plot) {
    const view = viewOf(plot);
    if (!view) return Plotly.purge(plot);
    // plotly turns no colour bar that is there: what changes between phone and desk is drawn anew
    const form = onPhone() ? "phone" : "desk";
    if (plot.dataset.form && plot.dataset.form !== form) Plotly.purge(plot);
    plot.dataset.form = form;
    const data = structuredClone(view.data.map(filtered));
    // on the screen plotly follows the figure's width: a fixed one breaks its margins on a resize
    const fixed = state.paper ? { width: PAPER } : {};
    const width = fixed.width ?? plot.clientWidth;
    for (const trace of data) if (trace.xgap && width < FINE * trace.x.length) trace.xgap = 0;
    return Plotly.react(plot, data, { ...structuredClone(themed(view.layout)), ...fixed }, CONFIG);
  }

  function redraw(wanted = () => true) {
    for (const plot of plots) if (plot.dataset.drawn && wanted(plot)) draw(plot);
  }

  function setLayer(index) {
    state.layer = index;
    const name = figures.layers[index];
    for (const slider of document.querySelectorAll(".layer-slider")) {
      slider.value = index;
      slider.setAttribute("aria-valuetext", `layer ${name}`);
      slider.closest("label").querySelector("output").textContent = name;
    }
    for (const block of document.querySelectorAll("[data-layer]")) {
      block.hidden = block.dataset.layer !== name;
    }
    redraw((plot) => !("" in figures.panels[plot.dataset.panel]));
    for (const listener of layerListeners) listener(index);
  }

  function setHidden(hidden) {
    state.hidden = hidden;
    const boxes = [...document.querySelectorAll("input.topic")];
    for (const box of boxes) box.checked = !hidden.has(Number(box.value));
    for (const filter of document.querySelectorAll(".filter")) {
      const total = filter.querySelectorAll("input.topic").length;
      const shown = total - hidden.size;
      filter.querySelector(".chosen").textContent = hidden.size ? `${shown} of ${total}` : "all";
    }
    redraw();
  }

  /* A filter that the reader sets by hand: no address takes it away. */
  function choose(hidden) {
    state.linkedTopic = null;
    setHidden(hidden);
  }

  function setTheme(name) {
    state.theme = name;
    root.dataset.theme = themeName();
    const button = document.getElementById("theme");
    button.textContent = themeName() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(themeName() === "dark"));
    redraw();
  }

  /* Shows the one topic that an address names; an address without one takes that filter away. */
  function linkTopic(topic) {
    if (topic !== null) setHidden(new Set([...figures.topics.keys()].filter((index) => index !== topic)));
    else if (state.linkedTopic !== null) setHidden(new Set());
    state.linkedTopic = topic;
  }

  /* Follows "#section", "#layer=2&expert=5", "#topic=name", "#section&layer=2". */
  function follow(hash) {
    const parts = new URLSearchParams(hash.slice(1));
    let id = [...parts.keys()].find((key) => parts.get(key) === "" && document.getElementById(key));
    const layer = figures.layers.indexOf(parts.get("layer"));
    if (layer >= 0) setLayer(layer);
    const topic = (figures.topics ?? []).indexOf(parts.get("topic"));
    linkTopic(topic >= 0 ? topic : null);
    if (topic >= 0) id ??= figures.topic_figure;
    const known = layer >= 0 || !parts.has("layer"); // an expert of a layer that is not here is nobody
    if (parts.has("expert") && known) id ??= `L${figures.layers[state.layer]}E${parts.get("expert")}`;
    const target = id && document.getElementById(id);
    if (!target) return;
    for (const marked of document.querySelectorAll(".profile.found")) marked.classList.remove("found");
    if (target.matches(".profile")) target.classList.add("found");
    if (target.hasAttribute("tabindex")) target.focus({ preventScroll: true });
    target.scrollIntoView();
  }

  function go(hash) {
    if (location.hash === hash) follow(hash);
    else location.hash = hash;
  }

  /* Keeps the address a link to what is on the screen. */
  function rememberLayer() {
    const section = document.querySelector(".contents a[aria-current]")?.hash.slice(1) ?? "verdict";
    const topic = state.linkedTopic === null ? {} : { topic: figures.topics[state.linkedTopic] };
    const parts = new URLSearchParams({ layer: figures.layers[state.layer], ...topic });
    history.replaceState(null, "", `#${section}&${parts}`);
  }

  function drawOnce(plot) {
    if (plot.dataset.drawn) return;
    plot.dataset.drawn = "yes";
    draw(plot);
  }

  /* Writes what is on the screen; a picture leaves its slider behind, so its name says the layer. */
  function save(plot) {
    const { panel } = plot.dataset;
    const { width, height } = plot.getBoundingClientRect();
    const layout = { ...plot.layout, paper_bgcolor: THEMES[themeName()].ground };
    const filename = "" in figures.panels[panel] ? panel : `${panel}-layer-${figures.layers[state.layer]}`;
    Plotly.downloadImage({ data: plot.data, layout }, { format: "png", scale: 2, width, height, filename });
  }

  root.classList.add("js");
  document.addEventListener("input", ({ target }) => {
    if (target.matches(".layer-slider")) {
      setLayer(Number(target.value));
      rememberLayer();
    }
    if (target.matches("input.topic")) {
      const hidden = new Set(state.hidden);
      if (target.checked) hidden.delete(Number(target.value));
      else hidden.add(Number(target.value));
      choose(hidden);
    }
  });
  document.addEventListener("click", ({ target }) => {
    const filter = target.closest(".filter");
    for (const open of document.querySelectorAll(".filter[open]")) {
      if (open !== filter) open.open = false;
    }
    if (target.matches(".all")) choose(new Set());
    if (target.matches(".only")) {
      choose(new Set([...filter.querySelectorAll("input.topic")].map((box) => Number(box.value))));
    }
    if (target.id === "theme") setTheme(themeName() === "dark" ? "light" : "dark");
    if (target.matches(".save")) save(document.querySelector(`.plot[data-panel="${target.dataset.panel}"]`));
  });
  document.addEventListener("keydown", ({ key, target }) => {
    if (key !== "Escape") return;
    for (const filter of document.querySelectorAll(".filter[open]")) {
      if (filter.contains(target)) filter.querySelector("summary").focus();
      filter.open = false;
    }
  });
  document.addEventListener("focusout", ({ target, relatedTarget }) => {
    const filter = target.closest(".filter[open]");
    if (filter && relatedTarget && !filter.contains(relatedTarget)) filter.open = false;
  });

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { seen.unobserve(entry.target); drawOnce(entry.target); }
    }
  }, { rootMargin: "400px" });
  const links = new Map([...document.querySelectorAll(".contents a")].map((a) => [a.hash.slice(1), a]));
  const here = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entry.target.id);
      link?.setAttribute("aria-current", "true");
      const bar = link?.closest("ul"); // scrolls sideways on a phone, down in a sidebar
      bar?.scrollTo({ left: link.offsetLeft - bar.offsetLeft - 16, top: link.offsetTop - bar.clientHeight / 2 });
    }
  }, { rootMargin: "-20% 0px -75% 0px" });

  setLayer(0);
  setTheme(null);
  systemDark.addEventListener("change", () => { if (!state.theme) setTheme(null); });
  plots.forEach(makeRoom);
  narrow.addEventListener("change", () => { plots.forEach(makeRoom); redraw(); });
  addEventListener("resize", () => plots.forEach(makeRoom));
  plots.forEach((plot) => seen.observe(plot));
  document.querySelectorAll("section[id]").forEach((section) => here.observe(section));
  let themeBeforePrint = null;
  function setPaper(paper, theme) {
    state.paper = paper;
    plots.forEach(makeRoom);
    setTheme(theme);
  }
  addEventListener("beforeprint", () => {
    themeBeforePrint = state.theme;
    setPaper(true, "light");
    plots.forEach(drawOnce);
  });
  addEventListener("afterprint", () => setPaper(false, themeBeforePrint));
  addEventListener("hashchange", () => follow(location.hash));
  if (location.hash) follow(location.hash);
  return { figures, state, go, onLayer: (listener) => layerListeners.push(listener) };
})();
