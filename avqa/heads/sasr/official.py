"""Source-aware parts of SaSR-Net as its authors run them: a network that groups seconds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import Attention, masked_softmax
from avqa.heads.sasr.options import OFFICIAL_SECONDS, Options
from avqa.heads.sasr.sources import PreNormBlock, Sources, gelu_layers, source_tokens

_MIXER = 256
_DROP_PATH = 0.1


class DropPath(nn.Module):
    """Leave out a sample's whole branch now and then, in training only (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero some samples of ``x`` [B, N, D], enlarge the others."""
        kept = F.dropout(x.new_ones(len(x), 1, 1), self.rate, self.training)
        return x * kept


class CrossBlock(nn.Module):
    """A transformer layer of one set attending to another.

        x' = x + MHA_8(N(x), N(y), N(y)),  out = M(x' + FFN(LN(x')))

    N are layer norms and M nothing (pre-norm), or N nothing and M a layer norm (``post``).

    Shapes:
        x [B, M, D], y [B, N, D], mask [B, N] → [B, M, D]
    """

    def __init__(self, width: int, *, post: bool = False) -> None:
        super().__init__()
        self.norm_x = nn.Identity() if post else nn.LayerNorm(width)
        self.norm_y = nn.Identity() if post else nn.LayerNorm(width)
        self.attention = Attention(width, 8, 0.0)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = gelu_layers(width)
        self.norm_out = nn.LayerNorm(width) if post else nn.Identity()

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Update ``x`` by ``y``."""
        x = x + self.attention(self.norm_x(x), self.norm_y(y), mask, want_weights=False)[0]
        return self.norm_out(x + self.feed_forward(self.norm(x)))  # type: ignore[no-any-return]


class Grouping(nn.Module):
    """Assign every second to tokens and let each token sum up what it was given.

        z = Cross(LN(mix(LN(g))), LN(x)),  mix = FC(n→256), GELU, FC(256→n) over the n tokens
        s = W_q z (W_k LN(x))ᵀ / √D,  w = softmax over tokens of s
        y = z + FC(ŵ W_v LN(x)),  ŵ_nt = w_nt / (Σ_t w_nt + 1)
        out = y + FFN(LN(y))

    With ``hard``, each second goes to one token: the largest s, in training after Gumbel noise;
    the gradient is that of the softmax (straight-through).

    Shapes:
        x [B, T, D], tokens [B, n, D], valid [B, T], open [B, n] (false: no token)
        → out [B, n, D], w [B, n, T], 0 at padded seconds
    """

    def __init__(self, width: int, num_tokens: int, *, hard: bool) -> None:
        super().__init__()
        self.hard = hard
        self.norm_tokens, self.norm_x = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Sequential(
            nn.Linear(num_tokens, _MIXER), nn.GELU(), nn.Linear(_MIXER, num_tokens)
        )
        self.norm_mixed = nn.LayerNorm(width)
        self.cross = CrossBlock(width, post=True)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = gelu_layers(width)

    def forward(
        self, x: Tensor, tokens: Tensor, valid: Tensor, open_: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum seconds up by token."""
        x, z = self.norm_x(x), self.norm_tokens(tokens)
        if open_ is not None:
            z = z * open_.unsqueeze(-1)  # what lies in padded rows must not be mixed in
        z = self.norm_mixed(self.mix(z.mT).mT)
        z = self.cross(z, x, valid)
        scores = self.key(x) @ self.query(z).mT / math.sqrt(z.shape[-1])  # [B, T, n]
        w = self._assign(scores, open_).mT * valid.unsqueeze(1)  # [B, n, T]
        share = w / (w.sum(-1, keepdim=True) + 1)
        y = z + self.out(share @ self.value(x))
        return y + self.feed_forward(self.norm(y)), w

    def _assign(self, scores: Tensor, open_: Tensor | None) -> Tensor:
        """Weights of the tokens for each second, [B, T, n]."""
        mask = None if open_ is None else open_.unsqueeze(1)
        if not self.hard:
            return masked_softmax(scores, mask)
        if self.training:
            scores = scores - torch.empty_like(scores).exponential_().log()
        soft = masked_softmax(scores, mask)
        chosen = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return chosen + (soft - soft.detach())


class OfficialBranch(nn.Module):
    """Tokens of one modality: three layers, grouping, and what each second takes back.

        [f'; G'] = Block_3(Block_2(Block_1([f; Gt])))
        G'' = Group(f', G'),  out = f' + Cross(f', G'')

    With ``seconds`` the features pass another grouping behind the three layers, soft and with
    other vectors as tokens, one for each second.

    Shapes:
        features [B, T, D], tokens [G, D], valid [B, T], seconds [B, T, D] → `Sources`
    """

    def __init__(self, width: int, num_sources: int, *, regroup: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(PreNormBlock(width, 0.0, DropPath(_DROP_PATH)) for _ in "123")
        self.regroup = Grouping(width, OFFICIAL_SECONDS, hard=False) if regroup else None
        self.group = Grouping(width, num_sources, hard=True)
        self.give_back = CrossBlock(width)

    def forward(
        self, features: Tensor, tokens: Tensor, valid: Tensor, seconds: Tensor | None = None
    ) -> Sources:
        """Let features and tokens meet."""
        batch, length = features.shape[:2]
        rows = torch.cat([features, tokens.expand(batch, -1, -1)], 1)
        mask = torch.cat([valid, valid.new_ones(batch, len(tokens))], 1)
        for block in self.blocks:
            rows = block(rows, mask)
        features, mixed = rows[:, :length], rows[:, length:]
        if self.regroup is not None:
            features, _ = self.regroup(features, seconds, valid, valid)
        grouped, weights = self.group(features, mixed, valid)
        return Sources(features + self.give_back(features, grouped), grouped, weights)


class OfficialSources(nn.Module):
    """Source tokens shared by both modalities, whose audio is also grouped by the frames.

    Seconds without sound are as padding to the audio: no frame of theirs groups any.

    Chosen where the authors' description is silent: tokens start at N(0, 0.02²), theirs at
    exactly zero; the extra grouping of the audio stands behind its three layers, and the negative
    pass keeps the audio of the positive one (theirs is computed again by the negative frames);
    fewer than ten seconds are padded to ten.

    Shapes:
        audio [B, T, D], visual [B, T, D], the stream's mask [B, T], T ≤ 10 → `Sources`
    Raises:
        ValueError: there are more than 10 seconds.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.project_audio = nn.Linear(width, width)
        self.project_visual = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.join_visual = nn.Linear(2 * width, width)
        self.audio = OfficialBranch(width, options.num_sources, regroup=True)
        self.visual = OfficialBranch(width, options.num_sources, regroup=False)
        # Held, counted in the paper's figure and never run.
        self.unused = nn.ModuleList([nn.LayerNorm(width), nn.Linear(width, 1)])
        self.apply(_truncated_normal)
        self.tokens = source_tokens(options)

    def hear(self, audio: Tensor, visual: Tensor, heard: Tensor) -> Sources:
        """Source-aware audio, one row for every second of the frames."""
        length = heard.shape[1]
        if length > OFFICIAL_SECONDS:
            raise ValueError(
                f"valid has T={length} seconds; expected {OFFICIAL_SECONDS} at most with"
                " variant='official', one of whose layers mixes as many; raise stride_seconds"
            )
        lacking = OFFICIAL_SECONDS - length
        audio, visual = (F.pad(x, (0, 0, 0, lacking)) for x in (audio, visual))
        heard = F.pad(heard, (0, lacking))
        seconds = self._projected(visual)
        found: Sources = self.audio(self.project_audio(audio), self.tokens, heard, seconds)
        assert found.time_attention is not None
        return found._replace(
            features=found.features[:, :length], time_attention=found.time_attention[..., :length]
        )

    def see(self, visual: Tensor, valid: Tensor) -> Sources:
        """Source-aware frames."""
        return self.visual(self._projected(visual), self.tokens, valid)  # type: ignore[no-any-return]

    def _projected(self, visual: Tensor) -> Tensor:
        parts = [layer(visual) for layer in self.project_visual]
        return self.join_visual(torch.cat(parts, -1))  # type: ignore[no-any-return]


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        nn.init.trunc_normal_(module.in_proj_weight, std=0.02)
