"""Weights: the registry, the true import path on files made here, and seeded random ones."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import pickle
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks

from avqa import machine
from avqa.errors import (
    ConfigError,
    DifferenceFound,
    StorageFailure,
    UnknownName,
    WeightsUnavailable,
)
from avqa.extract import encoders, published, weights, weights_files
from avqa.pipelines.listings import known_weights

State = dict[str, torch.Tensor]
Publish = Callable[[str, Path], None]


@pytest.fixture(autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """Copies of CLIP that a test freed would stay beside those of the next one."""
    yield
    machine.give_memory_back()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that the environment names."""
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def declare(monkeypatch: pytest.MonkeyPatch, name: str, **changed: Any) -> None:
    """Make the encoder that has these weights declare them otherwise."""
    (module,) = (m for m in map(encoders.load, encoders.names()) if name in m.WEIGHTS)
    entry = replace(module.WEIGHTS[name], **changed)
    monkeypatch.setattr(module, "WEIGHTS", {**module.WEIGHTS, name: entry})


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Make the registry expect a file made here."""

    def expect(name: str, path: Path) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        declare(monkeypatch, name, digest=digest[: len(published.published(name).digest)])

    return expect


def state_without(encoder: str, prefix: str) -> State:
    return {k: v for k, v in networks.state(encoder).items() if not k.startswith(prefix)}


@pytest.fixture
def resnet_file(tmp_path: Path, publish: Publish) -> Path:
    """As torchvision publishes it: without the batch norms' counters."""
    path = tmp_path / "resnet18-f37072fd.pth"
    state = {k: v for k, v in networks.state("resnet18").items() if "num_batches" not in k}
    torch.save(state, path)
    publish("resnet18", path)
    return path


@pytest.fixture
def vggish_file(tmp_path: Path, publish: Publish) -> Path:
    path = tmp_path / "vggish-10086976.pth"
    torch.save(state_without("vggish", "pca."), path)
    publish("vggish", path)
    return path


# Listing


def test_list_says_what_is_here(cache: Path) -> None:
    cache.mkdir()
    (cache / "vggish.safetensors").touch()
    known = {one.name: one for one in weights.list_weights()}
    assert list(known) == list(published.registry())
    assert known["vggish"].cached
    assert not known["clip_vit_b32"].cached
    lines = {line.split()[0]: line for line in known_weights().lines()}
    assert (" cached " in lines["vggish"], " absent " in lines["resnet18"]) == (True, True)
    assert "sha256 40d36571…  MIT  https://openaipublic" in lines["clip_vit_b32"]


# Resolving


def test_pretrained_without_files_names_both_ways(cache: Path) -> None:
    weights.resolve("pretrained")  # nothing needed yet
    with pytest.raises(WeightsUnavailable) as caught:
        weights.resolve("pretrained", ["resnet18"])
    assert str(caught.value) == (
        "weights resnet18 are missing; expected resnet18.safetensors; run `avqa weights fetch"
        " resnet18`, or download https://download.pytorch.org/models/resnet18-f37072fd.pth"
        " elsewhere and run `avqa weights import resnet18 FILE`"
    )
    assert caught.value.exit_code == 5
    source = weights.resolve("pretrained")
    with pytest.raises(WeightsUnavailable, match="weights vggish are missing"):
        source.describe("vggish")
    with pytest.raises(WeightsUnavailable, match="weights vggish are missing"):
        weights.load_state("vggish", source)


def test_a_folder_without_the_file_says_which_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=f"vggish are missing in {tmp_path}; expected"):
        weights.resolve(str(tmp_path), ["vggish"])


@pytest.mark.parametrize("source", ["nowhere", "random", "random:", "random:x", "random:-1"])
def test_any_other_word_is_refused(source: str) -> None:
    with pytest.raises(ConfigError) as caught:
        weights.resolve(source)
    assert str(caught.value) == (
        f"weights={source!r} is no folder; expected pretrained, random:SEED or a folder with"
        " NAME.safetensors files; see `avqa weights list`"
    )


def test_sources_travel() -> None:
    source = weights.resolve("random:3")
    assert pickle.loads(pickle.dumps(source)) == source
    assert source.describe("vggish") == {"source": "random:3"}


# Seeded random weights


def test_random_weights_repeat_and_leave_the_generator_alone() -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    again = weights.load_state("resnet18", weights.resolve("random:0"))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in networks.state("resnet18").items():
        assert torch.equal(again[name], tensor), name


def test_random_weights_depend_on_the_seed() -> None:
    other = weights.load_state("resnet18", weights.resolve("random:1"))
    assert not torch.equal(other["conv1.weight"], networks.state("resnet18")["conv1.weight"])


def test_random_weights_do_not_depend_on_what_was_drawn_before() -> None:
    source = weights.resolve("random:0")
    weights.load_state("vggish", source)
    torch.rand(5)
    again = weights.load_state("resnet18", source)
    assert torch.equal(again["fc.weight"], networks.state("resnet18")["fc.weight"])


def test_random_vggish_carries_its_signal() -> None:
    state = networks.state("vggish")
    for name, tensor in state.items():
        if name.endswith("bias"):
            assert not tensor.any(), name
        elif name.endswith("weight"):
            fan_in = tensor[0].numel()
            assert float(tensor.std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.1), name


# Importing published files


def test_resnet_is_imported_once_and_loaded_from_safetensors(
    cache: Path, resnet_file: Path
) -> None:
    path = weights.import_file("resnet18", resnet_file)
    assert path == cache / "resnet18.safetensors"
    assert sorted(p.name for p in cache.iterdir()) == ["resnet18.json", "resnet18.safetensors"]
    resnet_file.unlink()
    source = weights.resolve("pretrained", ["resnet18"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.describe("resnet18") == {"source": "file", "sha256": digest}
    loaded = weights.load_state("resnet18", source)
    assert loaded.keys() == networks.state("resnet18").keys()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, networks.state("resnet18")[name].float()), name
    networks.built("resnet18", loaded)


def test_a_folder_serves_as_well_as_the_cache(
    cache: Path, tmp_path: Path, resnet_file: Path
) -> None:
    weights.import_file("resnet18", resnet_file)
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(cache / "resnet18.safetensors", own)  # without its record
    cached, copied = (
        weights.resolve("pretrained", ["resnet18"]),
        weights.resolve(str(own), ["resnet18"]),
    )
    assert copied.describe("resnet18") == cached.describe("resnet18")
    assert weights.load_state("resnet18", copied).keys() == networks.state("resnet18").keys()


def test_clip_is_read_from_a_torchscript_archive(
    cache: Path, tmp_path: Path, publish: Publish
) -> None:
    state = networks.state("clip_vit_b32")
    path = tmp_path / "ViT-B-32.pt"
    _script_archive({**state, "input_resolution": torch.tensor(224)}, path)
    publish("clip_vit_b32", path)
    weights.import_file("clip_vit_b32", path)
    loaded = weights.load_state("clip_vit_b32", weights.resolve("pretrained", ["clip_vit_b32"]))
    assert loaded.keys() == state.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].half().float()), name
    networks.built("clip_vit_b32", loaded)


def _script_archive(state: State, path: Path) -> None:
    """Tensors under dotted names, in half precision, as a scripted module."""
    root = torch.nn.Module()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(leaf, tensor.half() if tensor.is_floating_point() else tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript as such is going
        torch.jit.save(torch.jit.script(root), path)


@pytest.mark.parametrize("kind", ["numpy", "tensor"])
def test_vggish_and_its_pca_are_imported(
    kind: str, cache: Path, tmp_path: Path, vggish_file: Path, publish: Publish
) -> None:
    state = networks.state("vggish")
    matrix, means = state["pca.eigen_vectors"], state["pca.means"].reshape(-1, 1)
    params: dict[str, Any] = {"pca_eigen_vectors": matrix, "pca_means": means}
    if kind == "numpy":
        params = {name: tensor.numpy() for name, tensor in params.items()}
    path = tmp_path / "vggish_pca_params-970ea276.pth"
    torch.save(params, path)
    publish("vggish_pca", path)
    weights.import_file("vggish", vggish_file)
    without = weights.load_state("vggish", weights.resolve("pretrained", ["vggish"]))
    assert not any(name.startswith("pca.") for name in without)
    weights.import_file("vggish_pca", path)
    loaded = weights.load_state("vggish", weights.resolve("pretrained", ["vggish", "vggish_pca"]))
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor), name


def test_a_file_with_another_digest_is_never_parsed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resnet18-f37072fd.pth"
    path.write_bytes(b"anything")
    monkeypatch.setattr(weights_files, "_convert", lambda *_: pytest.fail("parsed"))
    with pytest.raises(WeightsUnavailable) as caught:
        weights.import_file("resnet18", path)
    digest = hashlib.sha256(b"anything").hexdigest()
    assert str(caught.value).startswith(
        f"{path} is not resnet18: sha256={digest[:12]}…; expected f37072fd…; nothing of it was"
        " read; run `avqa weights fetch resnet18`, or download https://"
    )
    assert not cache.exists()


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["resnet18", "vggish", "vggish_pca", "clip_vit_b32"])
def test_no_pickle_is_ever_run(name: str, cache: Path, tmp_path: Path, publish: Publish) -> None:
    trace = tmp_path / "was-run"
    path = tmp_path / published.published(name).file_name
    torch.save({"conv1.weight": Malicious(trace)}, path)
    with pytest.raises(WeightsUnavailable, match=f"is not {name}: sha256="):
        weights.import_file(name, path)
    publish(name, path)  # even if the digest were right
    with pytest.raises(WeightsUnavailable, match=f"cannot be read as {name} \\("):
        weights.import_file(name, path)
    assert not trace.exists()
    shutil.copy(path, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsUnavailable, match="is no safetensors file"):
        weights.read_tensors(name, weights.resolve(str(tmp_path), [name]).path(name))
    assert not trace.exists()
    assert not list(cache.glob("*.safetensors")) if cache.exists() else True


def test_a_file_of_another_network_is_refused(
    cache: Path, tmp_path: Path, publish: Publish
) -> None:
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(state_without("vggish", "pca."), path)
    publish("resnet18", path)
    with pytest.raises(WeightsUnavailable, match=r"do not fit: bn1.bias=nothing; expected \(64,\)"):
        weights.import_file("resnet18", path)


def test_a_missing_file_is_no_traceback(cache: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="cannot be read .No such file or directory.;"):
        weights.import_file("resnet18", "nowhere.pth")


def test_an_unknown_name_lists_the_known() -> None:
    for call in (weights.fetch, weights.ensure, functools.partial(weights.import_file, path="x")):
        with pytest.raises(UnknownName, match="no weights 'resnet'; did you mean 'resnet18'"):
            call("resnet")
    with pytest.raises(UnknownName):
        weights.verify(["resnet"])


def test_what_is_put_into_a_cache_heeds_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with weights_files._temporary(tmp_path, "some.safetensors") as file:
            assert file.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_an_import_cut_short_keeps_the_file_that_was_there(
    cache: Path, resnet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its last change of the disk; the digest is the same, import after import."""
    path = weights.import_file("resnet18", resnet_file)
    before = path.read_bytes()

    def cut(file: Path, target: Path) -> None:
        if target == path:
            raise KeyboardInterrupt
        os.rename(file, target)

    monkeypatch.setattr(Path, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        weights.import_file("resnet18", resnet_file)
    assert path.read_bytes() == before
    assert weights.resolve("pretrained", ["resnet18"]).files["resnet18"] == path
    assert {file.name for file in cache.iterdir()} == {"resnet18.json", "resnet18.safetensors"}


def test_a_cache_that_cannot_be_made_says_so(tmp_path: Path, resnet_file: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailure, match="cannot be written .*set AVQA_CACHE to another one"):
        weights.import_file("resnet18", resnet_file, cache=tmp_path / "file" / "cache")


# Damage after the import


def test_a_file_changed_after_its_import_is_refused(cache: Path, resnet_file: Path) -> None:
    path = weights.import_file("resnet18", resnet_file)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(WeightsUnavailable, match="weights resnet18 changed since their import: "):
        weights.resolve("pretrained", ["resnet18"])
    with pytest.raises(DifferenceFound, match="weights resnet18: sha256=.* recorded at import: "):
        weights.verify(["resnet18"])


def test_a_touched_file_is_hashed_again_and_accepted(cache: Path, resnet_file: Path) -> None:
    path = weights.import_file("resnet18", resnet_file)
    before = weights.resolve("pretrained", ["resnet18"]).describe("resnet18")
    path.touch()
    assert weights.resolve("pretrained", ["resnet18"]).describe("resnet18") == before


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100])
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "resnet18.safetensors").write_bytes(content)
    source = weights.resolve(str(tmp_path), ["resnet18"])
    with pytest.raises(WeightsUnavailable, match="is no safetensors file .*; expected one that"):
        weights.load_state("resnet18", source)


# Verifying


def test_verify_says_what_it_checked(
    cache: Path, resnet_file: Path, vggish_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.import_file("resnet18", resnet_file)
    weights.import_file("vggish", vggish_file)
    with pytest.raises(DifferenceFound) as caught:  # random weights do not know the answer
        weights.verify()
    assert "weights vggish: a 1 kHz sine gives mean=" in str(caught.value)
    assert "expected 0.131 and 0.238 within 10 %" in str(caught.value)
    monkeypatch.setattr(encoders.load("vggish"), "KNOWN_TOLERANCE", 1000.0)
    resnet, vggish = weights.verify()
    assert resnet.startswith("resnet18: ok, sha256 ")
    assert resnet.endswith(" 122 tensors")
    assert ", known answer mean " in vggish


def test_verify_of_nothing_says_so(cache: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="no weights in .*; expected at least one; run"):
        weights.verify()
    with pytest.raises(WeightsUnavailable, match="weights vggish are not cached: no "):
        weights.verify(["vggish"])


# Fetching, from a server of our own


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def serve(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    declare(monkeypatch, name, address=address)


def test_fetch_downloads_checks_and_converts(
    cache: Path, tmp_path: Path, server: str, resnet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(resnet_file, tmp_path / "served" / "a.pth")
    serve(monkeypatch, "resnet18", f"{server}/a.pth")
    path = weights.ensure("resnet18")
    assert path == cache / "resnet18.safetensors"
    assert sorted(p.name for p in cache.iterdir()) == ["resnet18.json", "resnet18.safetensors"]
    assert json.loads((cache / "resnet18.json").read_text(encoding="utf-8"))["published_sha256"]
    (tmp_path / "served" / "a.pth").unlink()
    assert weights.ensure("resnet18") == path  # nothing is fetched twice


def test_fetch_of_something_else_leaves_nothing(
    cache: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "a.pth").write_bytes(b"<html>log in first</html>")
    serve(monkeypatch, "resnet18", f"{server}/a.pth")
    with pytest.raises(WeightsUnavailable, match="is not resnet18: sha256="):
        weights.fetch("resnet18")
    assert list(cache.iterdir()) == []


def test_fetch_without_connection_names_both_ways(
    cache: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, "vggish", f"{server}/absent.pth")
    with pytest.raises(WeightsUnavailable) as caught:
        weights.fetch("vggish")
    address = f"{server}/absent.pth"
    assert str(caught.value) == (
        f"weights vggish cannot be downloaded from {address} (HTTP Error 404: File not found);"
        " expected a connection; run `avqa weights fetch vggish`, or download"
        f" {address} elsewhere and run `avqa weights import vggish FILE`"
    )
    assert list(cache.iterdir()) == []


def test_numpy_is_the_only_thing_let_into_the_unpickler() -> None:
    before = set(torch.serialization.get_safe_globals())
    with pytest.raises(WeightsUnavailable):
        weights_files._convert("vggish_pca", Path("nowhere"))
    assert set(torch.serialization.get_safe_globals()) == before
    assert np.ndarray not in before
