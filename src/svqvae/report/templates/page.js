(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const names = data.names;

  // Numbers as the page writes them elsewhere.
  function say(value) {
    if (value === null || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
  }
  const sayQ = (value) => (value === null ? "–" : value < 0.001 ? "<0.001" : value.toFixed(3));

  // Light and dark.
  const root = document.documentElement;
  const keep = (value) => { try { localStorage.setItem("svqvae-theme", value); } catch (error) { /* not kept */ } };
  try { const kept = localStorage.getItem("svqvae-theme"); if (kept) root.dataset.theme = kept; } catch (error) { /* none */ }
  find("#theme").addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    keep(root.dataset.theme);
    compare();
  });

  // Tooltips.
  const tip = find("#tip");
  function showTip(text, event) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 6)) + "px";
    const below = event.clientY + 18;
    tip.style.top = (below + box.height > innerHeight ? event.clientY - box.height - 12 : below) + "px";
  }
  const cellUnder = (event) => {
    const svg = event.target.closest("svg.matrix");
    if (!svg) return null;
    const box = svg.getBoundingClientRect(), shrunk = box.width / svg.viewBox.baseVal.width;
    const { cell, left, top, unit } = svg.dataset;
    const column = Math.floor(((event.clientX - box.left) / shrunk - left) / cell);
    const row = Math.floor(((event.clientY - box.top) / shrunk - top) / cell);
    const order = data.relations.order;
    if (row < 0 || column < 0 || row >= order.length || column >= order.length) return null;
    return { unit, a: order[row], b: order[column] };
  };
  document.addEventListener("pointermove", (event) => {
    const marked = event.target.closest ? event.target.closest("[data-tip]") : null;
    const cell = event.target.closest ? cellUnder(event) : null;
    if (marked) showTip(marked.dataset.tip, event);
    else if (cell && cell.unit === "distance" && cell.a !== cell.b)
      showTip(names[cell.a] + "\n" + names[cell.b] + "\ndistance " + say(data.relations.distances[cell.a][cell.b]), event);
    else if (cell && cell.unit === "samples")
      showTip(names[cell.a] + "\ntaken for " + names[cell.b] + ": " + data.confusion[cell.a][cell.b] + " samples", event);
    else tip.hidden = true;
  });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // Choosing a class.
  let chosen = null;
  function choose(k) {
    chosen = k;
    const shown = k === null ? data.first : k;
    all("[data-card]").forEach((card) => { card.hidden = Number(card.dataset.card) !== shown; });
    all("[data-class]").forEach((part) => {
      part.classList.toggle("is-chosen", k !== null && Number(part.dataset.class) === k);
      part.classList.remove("is-near");
    });
    const near = new Set();
    all("#network line").forEach((edge) => {
      const a = Number(edge.dataset.a), b = Number(edge.dataset.b), isOwn = k !== null && (a === k || b === k);
      edge.classList.toggle("is-near", isOwn);
      if (isOwn) near.add(a === k ? b : a);
    });
    near.forEach((other) => all('#network [data-class="' + other + '"]').forEach((part) => part.classList.add("is-near")));
    all("svg.map").forEach((map) => map.classList.toggle("is-choosing", k !== null));
    markMatrices(k);
    const bar = find("#chosen");
    bar.hidden = k === null;
    if (k !== null) {
      bar.querySelector("b").textContent = names[k];
      const nearest = data.relations.nearest[k][0];
      bar.querySelector(".near").textContent = "nearest: " + names[nearest.class] + " (distance " + say(nearest.distance) +
        (nearest.support === null ? ")" : ", support " + nearest.support.toFixed(2) + ")") +
        (near.size ? "; joined with " + Array.from(near, (other) => names[other]).join(", ") : "");
      find("#class-a").value = String(k);
      if (find("#class-b").value === String(k)) find("#class-b").value = String(nearest.class);
      compare();
    }
  }
  function markMatrices(k) {
    all("svg.matrix").forEach((svg) => {
      const at = data.relations.order.indexOf(k);
      const across = svg.querySelector(".across"), down = svg.querySelector(".down");
      [across, down].forEach((cross) => (k === null ? cross.setAttribute("hidden", "") : cross.removeAttribute("hidden")));
      across.setAttribute("y", Number(svg.dataset.top) + at * svg.dataset.cell);
      down.setAttribute("x", Number(svg.dataset.left) + at * svg.dataset.cell);
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-choose]");
    if (button) return choose(Number(button.dataset.choose));
    const part = event.target.closest("svg [data-class]");
    if (part) return choose(Number(part.dataset.class));
    const cell = cellUnder(event);
    if (cell) choose(cell.a);
  });
  find("#unchoose").addEventListener("click", () => choose(null));

  // Searching and sorting the table of classes.
  const table = find("#class-table"), body = table.tBodies[0], search = find("#search");
  function filter() {
    const wanted = search.value.trim().toLocaleLowerCase();
    let n = 0;
    Array.from(body.rows).forEach((row) => {
      row.hidden = !names[Number(row.dataset.class)].toLocaleLowerCase().includes(wanted);
      n += row.hidden ? 0 : 1;
    });
    find("#found").textContent = wanted ? n + " of " + names.length + " classes" : "";
  }
  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    const first = Array.from(body.rows).find((row) => !row.hidden);
    if (event.key === "Enter" && first) choose(Number(first.dataset.class));
  });
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const isUp = head.getAttribute("aria-sort") !== "ascending";
      Array.from(table.tHead.rows[0].cells).forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
      const isNumber = head.classList.contains("n");
      const key = (row) => row.cells[column].dataset.sort;
      const order = (a, b) => (isNumber ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b)));
      Array.from(body.rows).sort((a, b) => (isUp ? order(a, b) : order(b, a))).forEach((row) => body.append(row));
    });
  });

  // Student's t, for intervals and p-values: the incomplete beta function by its continued fraction (Lentz).
  function logGamma(x) {
    const c = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2,
      -0.5395239384953e-5];
    let y = x, sum = 1.000000000190015;
    const t = x + 5.5;
    c.forEach((part) => { y += 1; sum += part / y; });
    return (x + 0.5) * Math.log(t) - t + Math.log((2.5066282746310005 * sum) / x);
  }
  function fraction(a, b, x) {
    const tiny = 1e-300;
    let c = 1, d = 1 / Math.max(Math.abs(1 - ((a + b) * x) / (a + 1)), tiny) * Math.sign(1 - ((a + b) * x) / (a + 1) || 1), h = d;
    for (let m = 1; m <= 500; m += 1) {
      for (const part of [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
        (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))]) {
        d = 1 + part * d; c = 1 + part / c;
        d = 1 / (Math.abs(d) < tiny ? tiny : d);
        c = Math.abs(c) < tiny ? tiny : c;
        h *= d * c;
        if (Math.abs(d * c - 1) < 1e-14) return h;
      }
    }
    return h;
  }
  function beta(a, b, x) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
    return x < (a + 1) / (a + b + 2) ? (front * fraction(a, b, x)) / a : 1 - (front * fraction(b, a, 1 - x)) / b;
  }
  const pValue = (t, degrees) => beta(degrees / 2, 0.5, degrees / (degrees + t * t));
  function quantile(p, degrees) {
    let low = 0, high = 2;
    while (pValue(high, degrees) > p && high < 1e9) high *= 2;
    for (let i = 0; i < 80; i += 1) {
      const middle = (low + high) / 2;
      if (pValue(middle, degrees) > p) low = middle; else high = middle;
    }
    return (low + high) / 2;
  }

  // Comparing two classes, as ClassAtlas.contrast does.
  const unpack = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const packed = data.contrast, n = packed.features.length;
  const decoded = unpack(packed.decoded), scale = unpack(packed.scale);
  const variances = packed.variances === null ? null : unpack(packed.variances);
  function contrast(a, b) {
    const rows = packed.features.map((feature, j) => {
      const difference = decoded[a * n + j] - decoded[b * n + j];
      const row = { feature, difference: difference * scale[j], unit: scale[j], t: null, p: null, q: null, low: null, high: null };
      if (variances !== null) {
        const va = variances[a * n + j], vb = variances[b * n + j], v = va + vb;
        const degrees = (v * v) / ((va * va) / packed.degrees[a] + (vb * vb) / packed.degrees[b]);
        row.degrees = Math.min(Number.isFinite(degrees) ? degrees : 1, packed.most);
        row.error = Math.sqrt(v) * scale[j];
        row.t = v > 0 ? difference / Math.sqrt(v) : 0;
        row.p = pValue(row.t, row.degrees);
      }
      return row;
    });
    if (variances !== null) {
      const byP = rows.slice().sort((x, y) => y.p - x.p);
      let least = 1;
      byP.forEach((row, i) => { least = Math.min(least, (row.p * n) / (n - i)); row.q = least; });
    }
    const size = (row) => Math.abs(variances === null ? row.difference : row.t);
    return rows.sort((x, y) => size(y) - size(x));
  }
  function withInterval(row) {
    if (row.t !== null && row.low === null) {
      const half = quantile(0.05, row.degrees) * row.error;
      row.low = row.difference - half; row.high = row.difference + half;
    }
    return row;
  }
  const MOST = 10;
  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  // A name may be broken after an underscore, a slash or a hyphen.
  function breakable(place, name) {
    place.replaceChildren(...name.split(/(?<=[_/-])/).flatMap((part) => [part, element("wbr")]).slice(0, -1));
  }
  function compare() {
    const a = Number(find("#class-a").value), b = Number(find("#class-b").value);
    breakable(find("#name-a"), names[a]);
    breakable(find("#name-b"), names[b]);
    const lines = find("#contrast-table").tBodies[0];
    lines.replaceChildren();
    find("#contrast-picture").replaceChildren();
    find("#contrast-scroll").hidden = a === b || packed.shape !== null;
    if (a === b) { find("#contrast-said").textContent = "Choose two different classes."; return; }
    const rows = contrast(a, b);
    find("#contrast-said").textContent = sayContrast(rows);
    if (packed.shape !== null) { drawDifference(a, b); return; }
    const up = rows.filter((row) => row.difference > 0).slice(0, MOST), down = rows.filter((row) => row.difference < 0).slice(0, MOST);
    const shown = up.concat(down).map(withInterval);
    const most = Math.max(...shown.flatMap((row) => [row.difference, row.low || 0, row.high || 0].map((value) => Math.abs(value / row.unit))), 1e-12);
    shown.forEach((row) => lines.append(line(row, most)));
  }
  function sayContrast(rows) {
    const part = n < packed.n_features ? " Of " + packed.n_features + " features, the " + n + " that differ most between classes are looked at." : "";
    if (variances === null) return "Without samples there are no intervals: the largest differences are shown." + part;
    const sure = rows.filter((row) => row.q <= 0.05), up = sure.filter((row) => row.t > 0).length;
    if (!sure.length) return "None of " + rows.length + " features differs surely (q ≤ 0.05); the surest are shown." + part;
    return sure.length + " of " + rows.length + " features differ at q ≤ 0.05: " + up + " higher in the first class, " + (sure.length - up) + " lower." + part;
  }
  function line(row, most) {
    const made = element("tr"), head = element("th", row.feature.length > 28 ? row.feature.slice(0, 27) + "…" : row.feature);
    head.scope = "row";
    head.title = row.feature;
    const span = element("span", undefined, "span " + (row.difference > 0 ? "up" : "down")), bar = element("i"), dot = element("b");
    const place = (value) => 50 + (49 * value) / (most * row.unit);
    if (row.q !== null && row.q > 0.05) made.className = "unsure";
    const low = row.low === null ? row.difference : row.low, high = row.high === null ? row.difference : row.high;
    bar.style.left = place(low) + "%"; bar.style.width = place(high) - place(low) + "%"; dot.style.left = place(row.difference) + "%";
    span.setAttribute("aria-hidden", "true");
    span.append(bar, dot);
    const drawn = element("td");
    drawn.append(span);
    const cell = (text, value) => {
      const found = element("td", undefined, "n"), number = element("data", text);
      number.value = String(value);
      found.append(number);
      return found;
    };
    const interval = element("td", row.low === null ? "–" : say(row.low) + " to " + say(row.high), "n");
    interval.dataset.low = String(row.low); interval.dataset.high = String(row.high);
    made.append(head, drawn, cell(say(row.difference), row.difference), interval, cell(sayQ(row.q), row.q));
    return made;
  }
  function drawDifference(a, b) {
    const shape = packed.shape, width = shape[shape.length - 1], height = shape[shape.length - 2];
    const canvas = element("canvas"), size = width * height;
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const differences = Array.from({ length: size }, (_, j) => (decoded[a * n + j] - decoded[b * n + j]) * scale[j]);
    const most = Math.max(...differences.map(Math.abs), 1e-12);
    differences.forEach((value, j) => {
      const ink = value > 0 ? [0, 114, 178] : [213, 94, 0];
      image.data.set([...ink, Math.round((255 * Math.abs(value)) / most)], 4 * j);
    });
    context.putImageData(image, 0, 0);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Difference of the decoded codes of " + names[a] + " and " + names[b] + ", at most " + say(most) + ".");
    const figure = element("figure");
    figure.append(canvas, element("figcaption", "Difference of the decoded codes: blue where " + names[a] + " is higher, orange where " + names[b] + " is; the strongest is " + say(most) + "."));
    find("#contrast-picture").append(figure);
  }
  ["#class-a", "#class-b"].forEach((selector) => find(selector).addEventListener("change", compare));
  find("#swap").addEventListener("click", () => {
    const a = find("#class-a"), b = find("#class-b"), before = a.value;
    a.value = b.value; b.value = before;
    compare();
  });
  compare();
  // On narrow screens the middle of a map says more than its left edge.
  all("svg.map").forEach((map) => {
    map.parentElement.scrollLeft = (map.parentElement.scrollWidth - map.parentElement.clientWidth) / 2;
  });
})();
