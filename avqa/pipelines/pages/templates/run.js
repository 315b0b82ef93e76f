// The questions of a run: filtered, sorted, shown a piece at a time.
const found = data.questions;
const texts = found.texts;
const PIECE = 100;
const state = { show: "all", member: 0, type: "", order: "file", find: "", cell: null };
const $ = (id) => document.getElementById(id);
let shown = [];

const haystack = found.text.map((_, row) =>
  [texts[found.text[row]], texts[found.video[row]], texts[found.id[row]] ?? "",
    texts[found.answer[row]] ?? ""].join("\n").toLowerCase());

function weightsOf(row) {
  const attention = data.attention;
  if (!attention || attention.member !== found.members[state.member].name) return null;
  const key = Object.keys(attention.weights).find((name) => name.startsWith(found.keys[row]));
  return key === undefined ? null : attention.weights[key];
}

function fits(row) {
  const member = found.members[state.member];
  const right = member.right[row];
  if (member.prediction[row] < 0) return false;
  if (state.show === "right" && right !== 1) return false;
  if ((state.show === "wrong" || state.show === "surest") && right !== 0) return false;
  if (state.show === "attention" && !weightsOf(row)) return false;
  if (state.type && found.types[found.type[row]] !== state.type) return false;
  if (state.cell && !inCell(row)) return false;
  return !state.find || haystack[row].includes(state.find) ||
    texts[member.prediction[row]].toLowerCase().includes(state.find);
}

// Of a cell of all seeds: any seed of the variant that said so.
function inCell(row) {
  const { type, right, said } = state.cell;
  const is = (number, name, known) =>
    name === "others" && !known.has(name) ? !known.has(texts[number]) : texts[number] === name;
  return found.types[found.type[row]] === type && is(found.answer[row], right, state.cell.known) &&
    found.members.some((member) => member.variant === found.members[0].variant &&
      member.prediction[row] >= 0 && is(member.prediction[row], said, state.cell.known));
}

function choose() {
  if (!found.members.length) {
    $("count").textContent = "There are no stored answers.";
    return;
  }
  const member = found.members[state.member];
  shown = [...found.text.keys()].filter(fits);
  const order = state.show === "surest" ? "most" : state.order;
  if (order !== "file") {
    const sign = order === "most" ? -1 : 1;
    shown.sort((a, b) => sign * (member.probability[a] - member.probability[b]) || a - b);
  }
  $("list").replaceChildren();
  $("count").textContent = `${shown.length} of ${found.text.length} questions`;
  more();
}

function more() {
  const start = $("list").children.length;
  $("list").append(...shown.slice(start, start + PIECE).map(item));
  const rest = shown.length - $("list").children.length;
  $("more").hidden = rest <= 0;
  $("more").textContent = `show ${Math.min(rest, PIECE)} more of ${rest}`;
}

const SIGNS = { 1: ["✓", "good", "right"], 0: ["✗", "bad", "wrong"], [-1]: ["·", "soft", "no right answer"] };

function item(row) {
  const member = found.members[state.member];
  const [sign, colour, words] = SIGNS[member.right[row]];
  const answers = make("div", { class: "told" }, text(texts[member.prediction[row]], "b"));
  if (member.right[row] === 0) answers.append("right: ", text(texts[found.answer[row]] ?? "–"));
  const fill = make("i");
  fill.style.width = `${100 * member.probability[row]}%`;
  const sure = make("div", {}, make("span", { class: "bar" }, fill), percent(member.probability[row]));
  const facts = make("div", { class: "facts" });
  facts.append(found.types[found.type[row]] ?? "", " · video ", text(texts[found.video[row]]));
  if (found.id[row] >= 0) facts.append(" · ", text(texts[found.id[row]]));
  const others = agreement(row);
  if (others) facts.append(` · ${others}`);
  const node = make("li", {},
    make("span", { class: `sign ${colour}`, title: words, "aria-label": words }, sign),
    make("div", {}, text(texts[found.text[row]]), facts), answers, sure);
  const poster = data.posters[found.video[row]];
  if (poster) {
    const alt = `frames of ${texts[found.video[row]]}`;
    node.append(make("div", { class: "wide-part" }, make("img", { class: "frames", src: poster, alt, loading: "lazy" })));
  }
  const weights = weightsOf(row);
  if (weights) {
    node.append(make("div", { class: "wide-part" },
      make("small", {}, `attention over time, a cell every ${data.attention.stride} s`),
      heat(weights.map((w) => w ?? 0), "attention over time")));
  }
  return node;
}

function agreement(row) {
  const seeds = found.members.filter((m) =>
    m.variant === found.members[state.member].variant && m.right[row] >= 0);
  if (seeds.length < 2) return "";
  return `right in ${seeds.filter((m) => m.right[row] === 1).length} of ${seeds.length} seeds`;
}

function show(kind) {
  state.show = kind;
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", button.dataset.show === kind);
  }
  choose();
}

function showCell(cell) {
  state.cell = cell;
  $("cell").hidden = !cell;
  if (cell) $("cell").replaceChildren(text(`${cell.type}: ${cell.right} → ${cell.said}`), " ✕");
  choose();
  if (cell) $("questions").scrollIntoView();
}

found.members.forEach((member, number) => $("member").append(make("option", { value: number }, member.name)));
found.types.forEach((name) => $("type").append(make("option", { value: name }, name)));
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => show(button.dataset.show));
}
for (const button of document.querySelectorAll(".cell")) {
  const heads = [...button.closest("table").querySelectorAll("thead th")].slice(1);
  const known = new Set(heads.map((head) => head.textContent).filter((_, place) =>
    place < heads.length - 1 || heads[place].textContent !== "others"));
  const { type, right, said } = button.dataset;
  button.addEventListener("click", () => showCell({ type, right, said, known }));
}
$("cell").addEventListener("click", () => showCell(null));
$("more").addEventListener("click", more);
$("member").addEventListener("change", (event) => { state.member = +event.target.value; choose(); });
$("type").addEventListener("change", (event) => { state.type = event.target.value; choose(); });
$("order").addEventListener("change", (event) => { state.order = event.target.value; choose(); });
$("find").addEventListener("input", (event) => { state.find = event.target.value.toLowerCase(); choose(); });
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target === $("find")) {
    $("find").value = state.find = "";
    $("find").blur();
    choose();
  }
  if (typing(event)) return;
  const kind = { a: "all", r: "right", w: "wrong", s: "surest", e: data.attention ? "attention" : undefined }[event.key];
  if (kind) show(kind);
  if (event.key === "/") { event.preventDefault(); $("find").focus(); }
});
choose();
