"""What must be known to read a result table: the lines above and below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from avqa import datasets, heads
from avqa.datasets._parts.floors import Table
from avqa.training.run import Member, MemberConfig, Run
from avqa.training.table.layout import Row
from avqa.training.table.published import Scope
from avqa.training.table.rows import num_rows, patches_of, thop_parameters

HASH_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the notes are made from."""

    run: Run
    main: Member
    scope: Scope
    asked: int
    """Questions of the split."""
    scored: int
    """Those of them with a right answer that all members were asked."""
    outside: int
    """Those of the scored whose answer is not in the heads' vocabulary."""
    fitted: int
    """Training questions of the floors."""
    floors: Mapping[str, Table]
    chance: float | None
    """Percent that guessing among options scores; None of open answers."""
    seconds: int | None


_ORDERS = {
    "grouped": "questions about one video stay close, so that it is read once",
    "together": "questions about one video come in a row, so that a head meets it once",
}


def warnings(facts: Facts) -> Iterator[str]:
    """Lines above the table: what makes its numbers mean something else."""
    yield from of_weights(facts.run)
    if facts.scope.split == "val":
        yield "val chose the checkpoint: these accuracies are too high for a result"
    if facts.scope.split == "train":
        yield "the heads were trained on these questions: these accuracies are no result"


def of_weights(run: Run) -> Iterator[str]:
    """That random weights made the features, if so."""
    made_up = sorted({m.config.weights for m in run.members if _is_random(m)})
    if made_up:
        yield (
            f"random weights ({', '.join(made_up)}) made the features: these accuracies show that"
            " the program works, and nothing else"
        )


def of_missing(run: Run) -> Iterator[str]:
    """Members that are not in a run's table, if any."""
    if run.missing:
        yield f"not finished, and not in this table: {', '.join(run.missing)}"


def _is_random(member: Member) -> bool:
    return member.config.weights.startswith("random:")


def notes(facts: Facts, rows: Sequence[Row]) -> Iterator[str]:
    """Lines below the table."""
    yield from of_missing(facts.run)
    yield _questions(facts)
    yield from facts.run.about.get("notes", ())
    yield from _answers(facts)
    if facts.floors:
        percents = ", ".join(f"{n} {t['All'].percent:.2f}" for n, t in facts.floors.items())
        guessing = "" if facts.chance is None else f", guessing {facts.chance:.2f}"
        yield f"floors, All: {percents}{guessing}; fitted on {facts.fitted} training questions"
    else:
        yield "no floors: there are no training questions"
    yield _features(facts)
    yield _training(facts)
    if (order := facts.main.config.settings.batches) in _ORDERS:
        yield f"batches: {_ORDERS[order]} (batches={order}); the papers shuffle"
    yield from _cost(facts)
    if any(row.kind == "published" for row in rows):
        yield of_published(facts.scope)


def _questions(facts: Facts) -> str:
    config, scope = facts.main.config, facts.scope
    own = "splits as read" if config.words.built else "its own splits"
    how = own if scope.official else "split by video, not its own splits"
    counts = ", ".join(f"{split} {count}" for split, count in config.counts.items())
    chosen = f", {told}" if (told := datasets.told(config.choices)) else ""
    line = (
        f"questions: {scope.dataset}{chosen}, annotation version {scope.version}, {how}; in"
        f" training {counts}; scored here {facts.scored} of {scope.split}"
    )
    if facts.scored < facts.asked:
        line += (
            f", and {facts.asked - facts.scored} left out: without a right answer, or without"
            " the features some row needs"
        )
    return line


def _answers(facts: Facts) -> Iterator[str]:
    """How much of what is scored here a head of a built vocabulary can answer."""
    vocabulary = facts.main.config.words
    if vocabulary.built and vocabulary.answers:
        can = facts.scored - facts.outside
        yield (
            f"vocabulary: {len(vocabulary.answers)} answers, built from the training questions;"
            f" {facts.outside} of the {facts.scored} questions scored here have another, so that at"
            f" most {100 * can / facts.scored:.2f} % can be right"
        )


def _features(facts: Facts) -> str:
    entries = [
        entry
        for member in facts.run.members
        for entry in (
            *((given["name"], given) for given in member.config.features.values()),
            *member.config.texts.items(),
        )
    ]
    hashes = dict.fromkeys(f"{name} {e['recipe_hash'][:HASH_DIGITS]}" for name, e in entries)
    configs = [member.config for member in facts.run.members]
    weights = dict.fromkeys(c.weights for c in configs if c.features or c.texts)
    if not hashes:
        return "features: none are read"
    return f"features with recipe: {', '.join(hashes)}; weights: {', '.join(weights)}"


def _training(facts: Facts) -> str:
    main, run = facts.main.config, facts.run
    if main.imported:
        return f"weights: of a published checkpoint, SHA-256 {main.imported}; not trained here"
    variants = dict.fromkeys(member.config.variant for member in run.members)
    seeds = {v: ", ".join(str(m.config.seed) for m in run.of_variant(v)) for v in variants}
    others = "; ".join(
        f"{v}: {these}" for v, these in seeds.items() if these != seeds[main.variant]
    )
    best = ", ".join(str(m.result.best_epoch) for m in run.of_variant(main.variant))
    return (
        f"seeds {seeds[main.variant]}{f' ({others})' if others else ''}; checkpoint: the best epoch"
        f" on val ({best} of {main.settings.epochs}), test scored once at the end; recipe:"
        f" {_changed_recipe(main)}"
    )


def _changed_recipe(config: MemberConfig) -> str:
    """Settings that are not the paper's: ``epochs=15 (paper: 30)``."""
    recipe = asdict(heads.load(config.head).PAPER.recipe)
    changed = [
        f"{name}={value} (paper: {recipe[name]})"
        for name, value in asdict(config.settings).items()
        if name in recipe and value != recipe[name]
    ]
    return ", ".join(changed) or "the paper's"


def _cost(facts: Facts) -> Iterator[str]:
    main = facts.main
    patches = patches_of(main.config)
    yield (
        f"cost of ours: trainable parameters; operations of one question about"
        f" {num_rows(main, facts.seconds)} rows of {patches} patches, two per multiply-add, LSTMs"
        " not counted"
    )
    counted = thop_parameters(main)
    if counted is not None:
        yield f"parameters of ours as thop counts, without attention weights: {counted / 1e6:.3f} M"
    note = heads.load(main.config.head).PAPER.parameters_note
    if note:
        yield f"the paper's parameters: {note}"


def of_published(scope: Scope) -> str:
    """What the marks of published rows mean."""
    of = "AVQA's val" if scope.dataset == "avqa" else "MUSIC-AVQA's test split"
    known = any(scope.is_of(annotation) for annotation in "uo?")
    where = "" if known else f"of {of}, not of these questions; "
    return (
        f"published figures: {where}copied as printed, none was reproduced here; ann: u updated,"
        " o original annotation, ? fits neither, ! averages do not follow from the cells, * not of"
        " the questions scored here"
    )
