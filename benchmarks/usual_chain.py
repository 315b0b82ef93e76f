"""The usual chain, as papers' repositories do it: five scripts, one frame at a time.

1. frames to JPEG (``ffmpeg -vf fps=1``) and audio to WAV, 2. CLIP frame and patch features,
3. ResNet-18 vectors, 4. ResNet-18 14×14 maps, 5. VGGish; each writes one .npy per video.
Written in the field's favour: each network is loaded once for all clips, one forward gives CLIP's
frame and patch features, and nothing is computed twice.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import open_clip
import soundfile
import torch
from PIL import Image
from torchvggish import vggish_input
from torchvggish.torchvggish import VGG, make_layers
from torchvision import transforms
from torchvision.models import resnet18

from avqa.machine import num_cores


def write_media(video: Path, out: Path) -> None:
    """Script 1: JPEG frames and a 16 kHz WAV."""
    frames = out / "frames" / video.stem
    frames.mkdir(parents=True)
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-i", str(video)]
    subprocess.run([*ffmpeg, "-vf", "fps=1", str(frames / "%06d.jpg")], check=True)
    (out / "wav").mkdir(exist_ok=True)
    wav = out / "wav" / f"{video.stem}.wav"
    subprocess.run([*ffmpeg, "-ac", "1", "-ar", "16000", str(wav)], check=True)


def pictures(video: Path, out: Path) -> list[Path]:
    """The JPEG files of one video, in order."""
    return sorted((out / "frames" / video.stem).glob("*.jpg"))


def clip_script(device: str) -> Callable[[Path, Path], None]:
    """Script 2: CLIP ViT-B/32 frame and patch features."""
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32-quickgelu")
    visual = model.visual.eval().to(device)
    visual.output_tokens = True

    def run(video: Path, out: Path) -> None:
        frame, patch = [], []
        for path in pictures(video, out):
            batch = preprocess(Image.open(path).convert("RGB"))[None].to(device)
            pooled, tokens = visual(batch)
            frame.append(pooled[0].cpu().numpy())
            patch.append((tokens[0] @ visual.proj).cpu().numpy())
        _save(out, "clip_frame", video, frame)
        _save(out, "clip_patch", video, patch)

    return run


def resnet_script(tap: str, device: str) -> Callable[[Path, Path], None]:
    """Scripts 3 and 4: ResNet-18 vectors, or 14×14 maps of the squashed frame."""
    model = resnet18().eval()
    if tap == "map":
        model.layer4[0].conv1.stride = (1, 1)
        model.layer4[0].downsample[0].stride = (1, 1)
        resize: list[Any] = [transforms.Resize((224, 224))]
    else:
        resize = [transforms.Resize(256), transforms.CenterCrop(224)]
    trunk = torch.nn.Sequential(*list(model.children())[: -1 if tap == "pool" else -2]).to(device)
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    preprocess = transforms.Compose([*resize, transforms.ToTensor(), normalize])

    def run(video: Path, out: Path) -> None:
        rows = [
            trunk(preprocess(Image.open(path).convert("RGB"))[None].to(device))[0]
            .squeeze()
            .cpu()
            .numpy()
            for path in pictures(video, out)
        ]
        _save(out, f"resnet18_{tap}", video, rows)

    return run


def vggish_script(device: str) -> Callable[[Path, Path], None]:
    """Script 5: one VGGish example per second, one forward each."""
    model = VGG(make_layers(), postprocess=False).eval().to(device)

    def run(video: Path, out: Path) -> None:
        samples, rate = soundfile.read(out / "wav" / f"{video.stem}.wav")
        rows = []
        for second in range(len(samples) // rate):
            part = samples[second * rate : (second + 1) * rate]
            example = vggish_input.waveform_to_examples(part, rate)
            rows.append(model(example.to(device))[0].cpu().numpy())
        _save(out, "vggish", video, rows)

    return run


def _save(out: Path, name: str, video: Path, rows: list[np.ndarray]) -> None:
    (out / name).mkdir(exist_ok=True)
    np.save(out / name / f"{video.stem}.npy", np.stack(rows))


@torch.inference_mode()
def run_chain(videos: list[Path], out: Path, device: str) -> dict[str, float]:
    """All five scripts over all videos; wall seconds of each, loading left out."""
    torch.set_num_threads(num_cores())  # as every script has it; avqa's engine sets one
    scripts: dict[str, Callable[[Path, Path], None]] = {
        "frames and WAV": write_media,
        "CLIP frame + patch": clip_script(device),
        "ResNet-18 vector": resnet_script("pool", device),
        "ResNet-18 map": resnet_script("map", device),
        "VGGish": vggish_script(device),
    }
    seconds = {}
    for name, script in scripts.items():
        start = time.perf_counter()
        for video in videos:
            script(video, out)
        seconds[name] = time.perf_counter() - start
    return seconds
