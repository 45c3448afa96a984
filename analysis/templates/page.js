"use strict";
/* Figures, controls and links of a page; `moescope` is what its other scripts may use. */
const moescope = (() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const state = { layer: 0, hidden: new Set(), theme: null };
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

  const themeName = () => state.theme ?? (systemDark.matches ? "dark" : "light");

  function themed(layout) {
    const name = themeName();
    const { ink, grid, ground } = THEMES[name];
    const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid };
    const template = {
      layout: {
        font: { color: ink }, annotationdefaults: { bgcolor: ground, opacity: 0.88 }, xaxis: axis, yaxis: axis,
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

  function draw(plot) {
    const views = figures.panels[plot.dataset.panel];
    const view = views[figures.layers[state.layer]] ?? views[""];
    if (!view) return Plotly.purge(plot);
    const data = structuredClone(view.data.map(filtered));
    return Plotly.react(plot, data, structuredClone(themed(view.layout)), CONFIG);
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

  function setTheme(name) {
    state.theme = name;
    root.dataset.theme = themeName();
    const button = document.getElementById("theme");
    button.textContent = themeName() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(themeName() === "dark"));
    redraw();
  }

  /* Follows "#section", "#layer=2&expert=5", "#topic=name", "#section&layer=2". */
  function follow(hash) {
    const parts = new URLSearchParams(hash.slice(1));
    let id = [...parts.keys()].find((key) => parts.get(key) === "" && document.getElementById(key));
    const layer = figures.layers.indexOf(parts.get("layer"));
    if (layer >= 0) setLayer(layer);
    const topic = (figures.topics ?? []).indexOf(parts.get("topic"));
    if (topic >= 0) {
      setHidden(new Set([...figures.topics.keys()].filter((index) => index !== topic)));
      id ??= "figure-topics";
    }
    if (parts.has("expert")) id ??= `L${figures.layers[state.layer]}E${parts.get("expert")}`;
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
    history.replaceState(null, "", `#${section}&layer=${figures.layers[state.layer]}`);
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
      setHidden(hidden);
    }
  });
  document.addEventListener("click", ({ target }) => {
    const filter = target.closest(".filter");
    for (const open of document.querySelectorAll(".filter[open]")) {
      if (open !== filter) open.open = false;
    }
    if (target.matches(".all")) setHidden(new Set());
    if (target.matches(".only")) {
      setHidden(new Set([...filter.querySelectorAll("input.topic")].map((box) => Number(box.value))));
    }
    if (target.id === "theme") setTheme(themeName() === "dark" ? "light" : "dark");
    if (target.matches(".save")) save(document.querySelector(`.plot[data-panel="${target.dataset.panel}"]`));
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") for (const open of document.querySelectorAll(".filter[open]")) open.open = false;
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
  plots.forEach((plot) => seen.observe(plot));
  document.querySelectorAll("section[id]").forEach((section) => here.observe(section));
  let themeBeforePrint = null;
  addEventListener("beforeprint", () => {
    themeBeforePrint = state.theme;
    plots.forEach(drawOnce);
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(themeBeforePrint));
  addEventListener("hashchange", () => follow(location.hash));
  if (location.hash) follow(location.hash);
  return { figures, state, go, onLayer: (listener) => layerListeners.push(listener) };
})();
