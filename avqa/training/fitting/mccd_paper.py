"""The paper of ``--debias mccd``: what is printed of it, alone and beside other networks."""

from __future__ import annotations

from avqa.heads import Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

PAPER = Paper(
    title="Look, Listen, and Answer: Overcoming Biases for Audio-Visual Question Answering",
    venue="NeurIPS 2024",
    url="https://arxiv.org/abs/2404.12020",
    recipe=Recipe(
        *(3e-5, 64, 150, 20, 0.5),
        note="of its own network; beside a head that head's recipe stands",
    ),
    figures=(printed("mccd")["main"]["MCCD"],),
    references=references("maven"),
    departures=departures("mccd"),
)
