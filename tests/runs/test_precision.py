"""What ``precision=`` comes to on a device, what it changes and leaves alone, and how a run goes on in it."""

import pytest
import torch
from networks import images

from autopose.config import MAY_CHANGE, Config
from autopose.config.checkpointed import from_checkpoint
from autopose.errors import UserError
from autopose.kernels import dispatch
from autopose.pool.worker import recipe_of
from autopose.runs import precision
from autopose.runs.checkpoint import CheckpointStore
from autopose.runs.precision import FP32, Precision, chosen_precision
from autopose.space import MacroSpace
from autopose.space.builtin import all_on_conv3

BF16 = Precision("bf16")
CPU = torch.device("cpu")


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_bf16_where_the_processor_multiplies_it(monkeypatch, there):
    monkeypatch.setattr(precision, "bf16_instructions", lambda: "AMX" if there else "")
    found = chosen_precision("auto", "cpu")
    assert found.name == ("bf16" if there else "fp32") and not found.explicit
    assert ("products of bf16 (AMX)" if there else "no instructions for products of bf16") in str(found)
    assert chosen_precision("fp32", "cpu") == FP32
    asked = chosen_precision("bf16", "cpu")
    assert asked.half and asked.explicit and ("slower than fp32 here" in str(asked)) != there
    assert recipe_of(Config())["precision"] == found.name


@pytest.mark.parametrize(
    ("capabilities", "text"),
    [({"amx_bf16": True, "avx512_bf16": True}, "AMX"), ({"amx_bf16": False, "avx512_bf16": True}, "AVX-512"), ({}, "")],
)
def test_pytorch_tells_the_instructions(monkeypatch, capabilities, text):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert dispatch.bf16_instructions() == text and dispatch.multiplies_bf16() == bool(text)


@pytest.mark.parametrize(("vector", "text"), [(True, "AVX-512"), (False, "")])
def test_before_it_had_a_table_its_probes_do(monkeypatch, vector, text):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vector, raising=False)
    assert dispatch.bf16_instructions() == text
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not dispatch.multiplies_bf16()


def test_what_a_device_cannot_is_one_sentence(monkeypatch):
    monkeypatch.setattr(precision, "_computes_bf16", lambda kind: False)
    monkeypatch.setattr(precision, "_multiplies_bf16", lambda kind: (False, "it has none for bf16"))
    with pytest.raises(UserError, match="precision=bf16 was asked for, but it has none for bf16: set precision=fp32"):
        chosen_precision("bf16", "cuda")
    with pytest.raises(UserError, match="precision must be one of auto, fp32, bf16, but is 'fp16'"):
        chosen_precision("fp16", "cpu")


def test_bf16_is_of_forward_passes_alone():
    macro = MacroSpace((4, 8), 2, 1, 1, 1, 8)
    torch.manual_seed(0)
    network = all_on_conv3(macro).network(3, 1).eval()  # statistics of a few pixels would magnify roundings
    x = images(macro, 2, 0)
    exact = network(x)
    half = BF16.wrapped(network, CPU)(x)
    assert half.dtype == torch.bfloat16 and FP32.wrapped(network, CPU) is network
    assert (half.float() - exact).norm() < 0.1 * exact.norm()
    half.float().square().mean().backward()
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}


def test_a_run_goes_on_in_the_precision_that_it_began_in(tmp_path, caplog):
    config = Config().to_dict()
    CheckpointStore(tmp_path, "search", config, 2, precision=FP32).save(1, {}, "epoch 1")
    unasked = CheckpointStore(tmp_path, "search", config, 2, precision=Precision("bf16", "auto: AMX", False))
    with pytest.raises(
        UserError, match=r"started in fp32, and precision=auto is bf16 \(auto: AMX\) here: precision=fp32"
    ):
        unasked.resume(MAY_CHANGE["search"])
    assert CheckpointStore(tmp_path, "search", config, 2, precision=BF16).resume(MAY_CHANGE["search"])["step"] == 1
    assert "bf16 now, fp32 when the run was started" in caplog.text


def test_configurations_from_before_the_key_are_read():
    embedded = Config().to_dict()
    embedded["train"]["autocast"] = embedded["search"]["autocast"] = False
    del embedded["precision"]
    assert from_checkpoint(embedded, Config(), []).precision == "auto"
