"""What ``--json`` prints: the object of each command, key by key.

The page ``docs/json.md`` is written from here. Keys stay: one that goes, or means something else,
raises `SCHEMA`; new ones may come without. Shares are in percent where their key says so, and
text that a person reads (``notes``, ``detail``, ``problem``) may change.
"""

from __future__ import annotations

from avqa.telling.objects.answers import Answered as Answered
from avqa.telling.objects.answers import Answers as Answers
from avqa.telling.objects.answers import Probable as Probable
from avqa.telling.objects.listings import Ablation as Ablation
from avqa.telling.objects.listings import Asked as Asked
from avqa.telling.objects.listings import Decoder as Decoder
from avqa.telling.objects.listings import Decoders as Decoders
from avqa.telling.objects.listings import Encoders as Encoders
from avqa.telling.objects.listings import Family as Family
from avqa.telling.objects.listings import Feature as Feature
from avqa.telling.objects.listings import Figures as Figures
from avqa.telling.objects.listings import Head as Head
from avqa.telling.objects.listings import HeadPage as HeadPage
from avqa.telling.objects.listings import Heads as Heads
from avqa.telling.objects.listings import OfDataset as OfDataset
from avqa.telling.objects.listings import Option as Option
from avqa.telling.objects.listings import Outside as Outside
from avqa.telling.objects.listings import Questions as Questions
from avqa.telling.objects.listings import Sample as Sample
from avqa.telling.objects.listings import TypeCount as TypeCount
from avqa.telling.objects.listings import Unusable as Unusable
from avqa.telling.objects.listings import Weight as Weight
from avqa.telling.objects.listings import Weights as Weights
from avqa.telling.objects.stores import Compared as Compared
from avqa.telling.objects.stores import Cosines as Cosines
from avqa.telling.objects.stores import Counted as Counted
from avqa.telling.objects.stores import Failed as Failed
from avqa.telling.objects.stores import FeatureRecipe as FeatureRecipe
from avqa.telling.objects.stores import Holder as Holder
from avqa.telling.objects.stores import Origin as Origin
from avqa.telling.objects.stores import Parts as Parts
from avqa.telling.objects.stores import Problem as Problem
from avqa.telling.objects.stores import RowsChecked as RowsChecked
from avqa.telling.objects.stores import Side as Side
from avqa.telling.objects.stores import Status as Status
from avqa.telling.objects.stores import StatusRecipes as StatusRecipes
from avqa.telling.objects.stores import StatusVideos as StatusVideos
from avqa.telling.objects.stores import StatusWarnings as StatusWarnings
from avqa.telling.objects.stores import StoreRun as StoreRun
from avqa.telling.objects.stores import Stream as Stream
from avqa.telling.objects.stores import Task as Task
from avqa.telling.objects.stores import Verified as Verified
from avqa.telling.objects.stores import Video as Video
from avqa.telling.objects.stores import Warned as Warned
from avqa.telling.objects.tables import Cell as Cell
from avqa.telling.objects.tables import Column as Column
from avqa.telling.objects.tables import Comparison as Comparison
from avqa.telling.objects.tables import Confidence as Confidence
from avqa.telling.objects.tables import Consistency as Consistency
from avqa.telling.objects.tables import Row as Row
from avqa.telling.objects.tables import Table as Table

SCHEMA = 1

COMMANDS: dict[str, type] = {
    "avqa ask": Answers,
    "avqa compare": Compared,
    "avqa compare-runs": Comparison,
    "avqa decoders": Decoders,
    "avqa encoders": Encoders,
    "avqa evaluate": Table,
    "avqa heads": Heads,
    "avqa heads NAME": HeadPage,
    "avqa questions --show": Questions,
    "avqa score": Table,
    "avqa status": Status,
    "avqa status --recipes": StatusRecipes,
    "avqa status --videos": StatusVideos,
    "avqa status --warnings": StatusWarnings,
    "avqa table": Table,
    "avqa verify": Verified,
    "avqa weights list": Weights,
}
"""Command → what it prints."""
