// The videos of a store: a map, and a list that grows as it is scrolled.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PIECE = 60;
const videos = data.videos;
const maps = data.maps;
const state = { find: "", show: "all", order: "row", map: 0, chosen: -1 };
let shown = [];

// Video → its place in a map's own lists.
const placeOf = maps.map((map) => new Map(map.videos.map((video, place) => [video, place])));

const haystack = videos.id.map((id, n) => [id, ...videos.notes[n]].join("\n").toLowerCase());

function has(video, name) {
  return videos.status[video].includes(data.states.indexOf(name));
}

function fits(video) {
  if (state.find && !haystack[video].includes(state.find)) return false;
  if (state.show === "all") return true;
  return state.show === "notes" ? videos.notes[video].length > 0 : has(video, state.show);
}

function apartOf(video) {
  const map = maps[state.map], place = placeOf[state.map]?.get(video);
  return map?.apart && place !== undefined ? map.apart[place] : -1;
}

const ORDERS = {
  row: () => 0,
  id: (a, b) => (videos.id[a] < videos.id[b] ? -1 : 1),
  long: (a, b) => videos.seconds[b] - videos.seconds[a],
  short: (a, b) => videos.seconds[a] - videos.seconds[b],
  apart: (a, b) => apartOf(b) - apartOf(a),
};

function choose() {
  shown = [...videos.id.keys()].filter(fits).sort(ORDERS[state.order]);
  $("list").replaceChildren();
  $("count").textContent = `${shown.length} of ${videos.id.length} videos`;
  more();
}

function more() {
  const start = $("list").children.length;
  $("list").append(...shown.slice(start, start + PIECE).map(item));
}

function strip(video) {
  const part = make("div", { class: "strip" });
  const poster = data.posters[video];
  if (poster) part.append(make("img", { src: poster, alt: `frames of ${videos.id[video]}`, loading: "lazy" }));
  const sound = data.spectra[video];
  if (sound) part.append(make("img", { class: "sound", src: sound, alt: `spectrum of the sound of ${videos.id[video]}`, loading: "lazy" }));
  const place = placeOf[state.map]?.get(video);
  if (place === undefined) return part;
  const bytes = Uint8Array.from(atob(maps[state.map].strips[place]), (letter) => letter.charCodeAt(0));
  const canvas = make("canvas", { width: bytes.length / 3, height: 1, role: "img", "aria-label": "strip of its rows" });
  const image = canvas.getContext("2d").createImageData(bytes.length / 3, 1);
  for (let n = 0; n < bytes.length / 3; n += 1) image.data.set([...bytes.slice(3 * n, 3 * n + 3), 255], 4 * n);
  canvas.getContext("2d").putImageData(image, 0, 0);
  part.append(canvas);
  return part;
}

function states(video) {
  const names = videos.status[video].map((status) => data.states[status]);
  const odd = names.map((name, n) => (name === "ok" ? "" : `${data.features[n]} ${name}`)).filter(Boolean);
  const part = make("div", { class: "states" }, odd.length ? odd.join(", ") : `${names.length} ok`);
  if (names.includes("failed")) part.classList.add("bad");
  return part;
}

function item(video) {
  const seconds = videos.duration[video];
  const node = make("li", { "data-video": video },
    text(videos.id[video], "b"),
    make("span", { class: "length" }, `${videos.seconds[video]} rows`, make("small", {}, seconds === null ? "" : ` ${seconds} s`)),
    strip(video), states(video));
  if (videos.notes[video].length) node.append(make("div", { class: "notes t" }, videos.notes[video].join("; ")));
  if (video === state.chosen) node.classList.add("chosen");
  return node;
}

// Show one video in the list, whatever was filtered.
function pick(video) {
  state.chosen = video;
  if (!shown.includes(video)) {
    Object.assign(state, { find: "", show: "all" });
    $("find").value = "";
    $("show").value = "all";
  }
  choose();
  const place = shown.indexOf(video);
  while ($("list").children.length <= place) more();
  paintPoints();
  const node = $("list").children[place];
  node.scrollIntoView({ block: "center" });
  node.tabIndex = -1;
  node.focus({ preventScroll: true });
}

function link(video, words = videos.id[video]) {
  const button = make("button", { type: "button" }, text(words));
  button.addEventListener("click", () => pick(video));
  return button;
}

function paintPoints() {
  const map = maps[state.map];
  if (!$("points")) return;
  $("points").replaceChildren();
  if (!map.places) return;
  const same = new Set(map.pairs.flatMap(([a, b]) => [a, b])), apart = new Set(map.farthest);
  const radius = Math.max(0.004, Math.min(0.012, 0.3 / Math.sqrt(map.videos.length)));
  map.places.forEach(([x, y], place) => {
    const video = map.videos[place];
    const point = document.createElementNS(SVG, "circle");
    const kind = video === state.chosen ? "chosen" : apart.has(video) ? "apart" : same.has(video) ? "same" : "";
    for (const [name, value] of Object.entries({ cx: x, cy: 1 - y, r: kind ? 1.5 * radius : radius, class: kind, "data-video": video })) {
      point.setAttribute(name, value);
    }
    point.append(document.createElementNS(SVG, "title"));
    point.firstChild.textContent = videos.id[video];
    $("points").append(point);
  });
}

function paintMap() {
  const map = maps[state.map];
  paintPoints();
  const nothing = () => make("li", { class: "soft" }, "none");
  $("axes").textContent = map.shares
    ? `across ${percent(map.shares[0])}, up ${percent(map.shares[1])} of what the videos differ by; violet: nearly the same, orange: standing apart` : "no map of this feature";
  $("pairs").replaceChildren(...map.pairs.map(([a, b, distance]) =>
    make("li", {}, link(a), " and ", link(b), ` ${distance.toFixed(3)}`)));
  $("apart").replaceChildren(...map.farthest.map((video) =>
    make("li", {}, link(video), ` ${apartOf(video).toFixed(2)}`)));
  for (const id of ["pairs", "apart"]) if (!$(id).children.length) $(id).append(nothing());
}

if ($("list")) {
  if ($("feature")) {
    maps.forEach((map, n) => $("feature").append(make("option", { value: n }, map.feature)));
    $("feature").addEventListener("change", (event) => { state.map = +event.target.value; paintMap(); choose(); });
    $("points").addEventListener("click", (event) => {
      const video = event.target.dataset.video;
      if (video !== undefined) pick(+video);
    });
    paintMap();
  }
  for (const button of document.querySelectorAll("[data-pick]")) {
    button.addEventListener("click", () => pick(+button.dataset.pick));
  }
  $("find").addEventListener("input", (event) => { state.find = event.target.value.toLowerCase(); choose(); });
  for (const name of ["show", "order"]) {
    $(name).addEventListener("change", (event) => { state[name] = event.target.value; choose(); });
  }
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target === $("find")) {
      $("find").value = state.find = "";
      $("find").blur();
      choose();
    }
    if (event.key === "/" && !typing(event)) { event.preventDefault(); $("find").focus(); }
  });
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) more(); },
    { rootMargin: "600px" }).observe($("end"));
  choose();
}
