// The video, its attention over time, and a slider over both.
const $ = (id) => document.getElementById(id);
const video = $("video"), time = $("time"), tint = $("tint");
const starts = data.rows.map(([second]) => second);
let plays = true;  // until the browser says that it cannot
let place = 0;  // seconds, where the video does not play

function rowAt(seconds) {
  let row = 0;
  while (row + 1 < starts.length && starts[row + 1] <= seconds) row += 1;
  return row;
}

function now() {
  return plays ? video.currentTime : place;
}

function seek(seconds) {
  place = Math.min(Math.max(seconds, 0), data.duration);
  if (plays) video.currentTime = place;
  paint();
}

// A row's own frame, a little behind its time stamp so that rounding does not show the one before.
function seekRow(row) {
  const at = Math.min(Math.max(row, 0), starts.length - 1);
  seek((data.rows[at][1] ?? starts[at]) + 0.01);
}

function nearestStill(row) {
  const rows = Object.keys(data.stills).map(Number);
  const best = rows.sort((a, b) => Math.abs(a - row) - Math.abs(b - row))[0];
  return data.stills[best];
}

function strongest(row) {
  return data.curves.map(({ name, weights }) => `${name} ${percent(weights[row] ?? 0)}`).join(", ");
}

function paint() {
  const seconds = now(), row = rowAt(seconds);
  const share = Math.min(seconds / data.duration, 1);
  $("now").style.left = `calc(72px + (100% - 72px) * ${share})`;
  time.setAttribute("aria-valuenow", seconds.toFixed(2));
  const told = `second ${seconds.toFixed(1)}${data.curves.length ? `: ${strongest(row)}` : ""}`;
  time.setAttribute("aria-valuetext", told);
  $("where").textContent = told;
  if (!plays) $("still").src = nearestStill(row) ?? "";
  paintPatches(row, seconds);
}

function paintPatches(row, seconds) {
  if (!data.patches) return;
  const last = starts[starts.length - 1] + data.stride;
  const shown = $("show").checked && seconds < last;
  const weights = data.patches[row];
  tint.hidden = !shown;
  $("inside").hidden = !shown || (data.grid.width > 0.99 && data.grid.height > 0.99);
  if (!shown) return;
  const side = data.grid.side;
  tint.width = tint.height = side;
  const image = tint.getContext("2d").createImageData(side, side);
  weights.forEach((weight, patch) => {
    const heat = weight / 255;
    // From yellow to dark red, as in explanation.png.
    image.data.set([254 - 40 * heat, 190 - 165 * heat, 80 - 45 * heat, 191 * heat], 4 * patch);
  });
  tint.getContext("2d").putImageData(image, 0, 0);
}

function cover(node) {
  for (const side of ["left", "top", "width", "height"]) {
    node.style[side] = `${100 * data.grid[side]}%`;
  }
}

function lane({ name, weights }) {
  const track = make("div", { class: "track" });
  const most = Math.max(...weights.map((w) => w ?? 0), 1e-9);
  weights.forEach((weight, row) => {
    const bar = make("i", { title: `second ${starts[row]}: ${percent(weight ?? 0, 1)}` });
    bar.style.left = `${(100 * starts[row]) / data.duration}%`;
    bar.style.width = `${(100 * data.stride) / data.duration}%`;
    bar.style.height = `${(100 * (weight ?? 0)) / most}%`;
    track.append(bar);
  });
  return make("div", { class: `lane ${name}` }, make("span", {}, name), track);
}

function secondsAt(event) {
  const box = time.getBoundingClientRect();
  return ((event.clientX - box.left - 72) / (box.width - 72)) * data.duration;
}

function jump() {
  if (!data.curves.length) return;
  const sums = starts.map((_, row) => data.curves.reduce((sum, c) => sum + (c.weights[row] ?? 0), 0));
  seekRow(sums.indexOf(Math.max(...sums)));
}

function stand() {
  plays = false;
  video.hidden = true;
  video.style.display = "none";
  $("still").hidden = false;
  $("fallback").hidden = false;
  paint();
}

const KEYS = {
  ArrowRight: () => seekRow(rowAt(now()) + 1),
  ArrowLeft: () => seekRow(rowAt(now()) - 1),
  Home: () => seekRow(0),
  End: () => seekRow(starts.length - 1),
  m: jump,
  t: () => { if ($("show")) { $("show").checked = !$("show").checked; paint(); } },
  " ": () => { if (plays) { if (video.paused) video.play(); else video.pause(); } },
};

data.curves.forEach((curve) => $("curves").append(lane(curve)));
if (data.patches) { cover(tint); cover($("inside")); $("show").addEventListener("change", paint); }
if ($("spectrum")) $("spectrum").style.width = `${(100 * data.spectrum_seconds) / data.duration}%`;
$("jump").addEventListener("click", jump);
$("jump").hidden = !data.curves.length;
time.addEventListener("pointerdown", (event) => {
  seek(secondsAt(event));
  time.setPointerCapture(event.pointerId);
});
time.addEventListener("pointermove", (event) => { if (event.buttons) seek(secondsAt(event)); });
addEventListener("keydown", (event) => {
  if (typing(event) || ["VIDEO", "BUTTON"].includes(event.target.tagName) || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
video.addEventListener("error", stand);
if (video.error) stand();
for (const name of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(name, paint);
(function follow() { if (plays && !video.paused) paint(); requestAnimationFrame(follow); })();
paint();
