// What pages do beside showing: hear that something moved, draw charts, copy a secret. No page needs it to be used.
"use strict";
(() => {
  const body = document.body;

  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // live

  const pulse = document.querySelector("[data-pulse]");
  const connected = (yes) => {
    if (!pulse) return;
    pulse.classList.toggle("on", yes);
    pulse.querySelector("[data-pulse-live]").hidden = !yes;
    pulse.querySelector("[data-pulse-paused]").hidden = yes;
  };
  if (pulse && body.dataset.events) {
    const source = new EventSource(body.dataset.events);
    source.addEventListener("open", () => connected(true));
    source.addEventListener("error", () => connected(false));
    source.addEventListener("away", () => connected(false));
    source.addEventListener("moved", () => {
      connected(true);
      body.dispatchEvent(new CustomEvent("moved"));
    });
    source.addEventListener("end", () => {
      source.close();
      location.assign(body.dataset.signIn);
    });
    addEventListener("pagehide", () => source.close());
  } else if (pulse) {
    pulse.hidden = true;
  }

  // what moves keeps how far it was scrolled; htmx keeps the focus, by ids

  const scrolled = (box) => [...box.querySelectorAll(".scroll[id]")];
  const far = new Map();
  body.addEventListener("htmx:beforeSwap", (event) => scrolled(event.detail.target).forEach((each) => far.set(each.id, each.scrollLeft)));
  body.addEventListener("htmx:afterSwap", () => scrolled(body).forEach((each) => far.has(each.id) && (each.scrollLeft = far.get(each.id))));

  // charts

  const color = (name) => {
    const probe = body.appendChild(document.createElement("i"));
    probe.style.color = `var(${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const draw = (box) => {
    const [at, cost] = JSON.parse(box.dataset.chart);
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
    box.replaceChildren();
    const plot = new uPlot(
      {
        width: box.clientWidth,
        height: 220,
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "UTC"),
        legend: { show: false },
        cursor: { y: false },
        scales: { x: { range: (u, min, max) => [min - 43200, max + 43200] }, y: { range: (u, min, max) => [0, max || 1] } },
        series: [
          {},
          {
            label: box.dataset.label,
            fill: color("--accent"),
            width: 0,
            paths: uPlot.paths.bars({ size: [0.7, 40], radius: 0.15 }),
            points: { show: false },
          },
        ],
        axes: [
          { ...axis, size: 30, values: (u, ticks) => ticks.map((ts) => new Date(ts * 1000).toISOString().slice(5, 10)), incrs: [1, 2, 3, 7, 14].map((d) => d * 86400), space: 60 },
          { ...axis, size: 62, values: (u, ticks) => ticks.map((v) => "$" + v.toLocaleString("en-US")) },
        ],
      },
      [at, cost],
      box,
    );
    return plot;
  };
  const charts = [...document.querySelectorAll("[data-chart]")];
  if (charts.length && window.uPlot) {
    let plots = charts.map(draw);
    addEventListener("resize", () => plots.forEach((plot, i) => plot.setSize({ width: charts[i].clientWidth, height: 220 })));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      plots = charts.map(draw);
    });
  }

  // forms: a second click sends nothing, so that the first answer is the one that is seen

  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "1";
    });
  }
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // secrets

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = button.dataset.copied;
      } catch {
        getSelection().selectAllChildren(text);
      }
    });
  }
})();
