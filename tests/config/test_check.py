"""Every value out of its range is answered with its key, itself and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from composing import TINY, answer, checked, composed, line_of
from omegaconf import OmegaConf

from denoiselab.config import ConfigError, check, going_on, same_config, save_config, train_config
from denoiselab.config.check import check_data, check_pair, plain_container

TIME = "model=time_unet"
DENOISER = ("model=denoiser", "schedule=additive")
MISTAKES = [
    (["model.net.width=0"], "model.net.width=0: allowed is a positive number of channels"),
    (["model.net.width=-8"], "model.net.width=-8: allowed is a positive number of channels"),
    (["model.net.num_classes=5"], "model.net.num_classes=5: allowed is 10 or more, the classes of the data"),
    ([TIME, "model.net.num_classes=10"], "model.net.num_classes=10: allowed is 0 for this model"),
    (["model.net.time=ad"], "model.net.time=ad: allowed are add, multiply (did you mean add?)"),
    (["model.net.in_channels=3"], "model.net.in_channels=3: allowed is 1, the channels of the data"),
    (["beside=[nowhere]"], "beside=nowhere: allowed is run directories, with a config.yaml that has a name"),
    (["data.val_size=20000"], "data.val_size=20000: allowed is 1 to 10000 images"),
    (["data.batch_size=60001"], "data.batch_size=60001: allowed is 1 to 60000 images per rank"),
    (["data.steps_per_epoch=938"], "data.steps_per_epoch=938: allowed is null (all) or 1 to 937"),
    (
        ["schedule=cosine", "schedule.path.max_beta=2"],
        "schedule.path.max_beta=2.0: allowed is more than 0 and less than 1",
    ),
    (["trainer.devices=true"], "trainer.devices=True: allowed is auto or a number > 0"),
    (
        ["model=denoiser", "schedule=ddpm", "schedule.prediction=x_0", "callbacks=base", "model.t=1.5"],
        "model.t=1.5: allowed is an integer, 1 to 300",
    ),
    (
        [*DENOISER, "callbacks.panels.sigmas=[0.1,nan]"],
        "callbacks.panels.sigmas=[0.1, nan]: allowed is one or more numbers >= 0 that differ",
    ),
    (["beside=nowhere"], "beside=nowhere: allowed is a list, e.g. beside=[nowhere]"),
    (["model.class_dropout=1.5"], "model.class_dropout=1.5: allowed is a probability, 0 to 1"),
    (
        ["model.times.law=logitnormal"],
        "model.times.law=logitnormal: allowed are uniform, logit_normal (did you mean logit_normal?)",
    ),
    (["model.times.location=inf"], "model.times.location=inf: allowed is a finite number"),
    (["model.times.scale=0"], "model.times.scale=0.0: allowed is a positive number"),
    *(
        (["experiment=text_digits", *words], line)
        for words, line in (
            (["model.empty=2"], "model.empty=2.0: allowed is a probability, 0 to 1"),
            (["model.null=0.95"], "model.null=0.95: allowed is at most 1 with model.empty=0.1"),
            (["model.bound_weight=-1"], "model.bound_weight=-1.0: allowed is 0 or more"),
            (["model.net.groups=0"], "model.net.groups=0: allowed is a positive number of groups"),
            (
                ["model.net.widths=[8,12]"],
                "model.net.widths=[8, 12]: allowed is one or more multiples of model.net.groups=8",
            ),
            (["model.net.head_width=48"], "model.net.head_width=48: allowed is a divisor of 64, the last width"),
            (["model.net.threshold_most=0.9"], "model.net.threshold_most=0.9: allowed is 1 or more, and finite"),
            (["model.net.text_width=30"], "model.net.text_width=30: allowed is a positive multiple of 4"),
            (["model.net.resolution=64"], "model.net.resolution=64: allowed is data.resolution"),
            (["schedule.path.T=300"], "schedule.path.T=300: allowed is 1000 for this model, as DeepFloyd IF's"),
            (["callbacks.samples.prompts=[]"], "callbacks.samples.prompts=[]: allowed is one prompt or more"),
            (
                ["callbacks.samples.digits=[1]"],
                "callbacks.samples.digits=[1]: allowed is null for this model, whose grid has prompts",
            ),
            (["solver=euler"], "solver=euler: allowed is ddpm_learned, ddpm, ddim or dpmpp for this model"),
        )
    ),
    (
        ["experiment=text_digits_upscaler", "model.low_resolution=24"],
        "model.low_resolution=24: allowed is a divisor of data.resolution=64, and less",
    ),
    (
        ["experiment=text_digits_upscaler", "model.net.upscaler=false"],
        "model.net.upscaler=False: allowed is True for this model",
    ),
    (
        ["experiment=text_digits_upscaler", "callbacks.upscaled.noise_level=1000"],
        "callbacks.upscaled.noise_level=1000: allowed is 0 to 999",
    ),
    (
        ["callbacks.samples.prompts=[a]"],
        "callbacks.samples.prompts=['a']: allowed is null for this model, whose grid has digits",
    ),
    (["model.optimizer.lr=0"], "model.optimizer.lr=0.0: allowed is a positive number"),
    (["model.optimizer.lr=nan"], "model.optimizer.lr=nan: allowed is a positive number"),
    (["model.optimizer.final=2"], "model.optimizer.final=2.0: allowed is a fraction of lr, up to 1"),
    (["model.optimizer.warmup_steps=-1"], "model.optimizer.warmup_steps=-1: allowed is 0 or more"),
    (["model.optimizer.betas=[0.9]"], "model.optimizer.betas=[0.9]: allowed is two numbers in [0, 1)"),
    (
        ["model.optimizer.schedule=exponental"],
        "model.optimizer.schedule=exponental: allowed are constant, exponential, cosine (did you mean exponential?)",
    ),
    ([*DENOISER, "model.t=2"], "model.t=2.0: allowed is more than 0 and at most 1"),
    (
        ["model=denoiser"],
        "schedule.prediction=velocity: allowed is x_0 for this model (try schedule=additive)",
    ),
    (["schedule.prediction=eps"], "schedule.prediction=eps: allowed are velocity, x_0"),
    (["schedule=ddpm", "schedule.path.zero_terminal_snr=true"], "schedule.prediction=eps: allowed are velocity, x_0"),
    (
        ["schedule=ddpm", "schedule.path.T=1", "schedule.path.zero_terminal_snr=true", "schedule.prediction=x_0"],
        "schedule.path.T=1: allowed is 2 or more with zero_terminal_snr",
    ),
    (["schedule=ddpm", "schedule.path.T=0"], "schedule.path.T=0: allowed is a positive number of steps"),
    (
        ["schedule=ddpm", "schedule.path.beta_end=1"],
        "schedule.path.beta_end=1.0: allowed is more than 0 and less than 1",
    ),
    (["schedule=ddpm", "solver.variance=bet"], "solver.variance=bet: allowed are beta, posterior (did you mean beta?)"),
    (["solver=ddim", "solver.eta=2"], "solver.eta=2.0: allowed is 0 to 1"),
    (
        ["schedule=ddpm", "callbacks.samples.steps=301"],
        "callbacks.samples.steps=301: allowed is 1 to schedule.path.T=300",
    ),
    (["callbacks.samples.steps=0"], "callbacks.samples.steps=0: allowed is a positive number"),
    (["callbacks.samples.rows=0"], "callbacks.samples.rows=0: allowed is a positive number"),
    (["callbacks.samples.digits=[3,11]"], "callbacks.samples.digits=[3, 11]: allowed is classes from 0 to 9"),
    (["callbacks.samples.digits=[-1]"], "callbacks.samples.digits=[-1]: allowed is classes from 0 to 9"),
    (["callbacks.samples.digits=[]"], "callbacks.samples.digits=[]: allowed is classes from 0 to 9"),
    (
        [TIME, "callbacks.samples.digits=[3]"],
        "callbacks.samples.digits=[3]: allowed is null for this model, whose grid has columns",
    ),
    (
        [TIME, "callbacks.samples.guidance_scale=5"],
        "callbacks.samples.guidance_scale=5.0: allowed is null: this model has no classes to guide by",
    ),
    (
        ["callbacks.samples.guidance_scale=nan"],
        "callbacks.samples.guidance_scale=nan: allowed is null (off) or a finite number",
    ),
    *(
        (
            ["callbacks.quality.epochs=[1]", f"callbacks.quality.guidance_scales={given}"],
            f"callbacks.quality.guidance_scales={said}: allowed is null (off) or one or more numbers from 0 to "
            "100 that differ",
        )
        for given, said in (("[]", "[]"), ("[1,nan]", "[1.0, nan]"), ("[2,2.0]", "[2.0, 2.0]"), ("[101]", "[101.0]"))
    ),
    (
        [TIME, "callbacks.quality.epochs=[1]", "callbacks.quality.guidance_scales=[1]"],
        "callbacks.quality.guidance_scales=[1.0]: allowed is null: this model has no classes to guide by",
    ),
    (
        ["callbacks.samples.guidance_interval=[0.5,0.5]"],
        "callbacks.samples.guidance_interval=[0.5, 0.5]: allowed is [low, high] with 0 <= low < high <= 1, times as "
        "shares of the noisiest",
    ),
    (
        ["callbacks.samples.guidance_interval=[0,1]", "callbacks.samples.guidance_scale=null"],
        "callbacks.samples.guidance_interval=[0.0, 1.0]: allowed is null: callbacks.samples.guidance_scale is null",
    ),
    (
        [TIME, "callbacks.samples.guidance_interval=[0,0.5]"],
        "callbacks.samples.guidance_interval=[0.0, 0.5]: allowed is null: this model has no classes to guide by",
    ),
    (
        ["trainer.max_epochs=3", "callbacks.samples.epochs=[1,5]"],
        "callbacks.samples.epochs=[1, 5]: allowed is epochs from 1 to trainer.max_epochs=3",
    ),
    (
        ["callbacks.samples.epochs=[0,1]"],
        "callbacks.samples.epochs=[0, 1]: allowed is epochs from 1 to trainer.max_epochs=1",
    ),
    (
        ["callbacks.checkpoints.epochs=[2]"],
        "callbacks.checkpoints.epochs=[2]: allowed is epochs from 1 to trainer.max_epochs=1",
    ),
    (
        [*DENOISER, "callbacks.panels.sigmas=[-1]"],
        "callbacks.panels.sigmas=[-1.0]: allowed is one or more numbers >= 0 that differ",
    ),
    ([*DENOISER, "callbacks.panels.digits=11"], "callbacks.panels.digits=11: allowed is 1 to 10"),
    (
        [*DENOISER, "callbacks.denoising.sigmas=[]"],
        "callbacks.denoising.sigmas=[]: allowed is one or more numbers >= 0 that differ",
    ),
    (
        [*DENOISER, "callbacks.denoising.sigmas=[0.5,0.5]"],
        "callbacks.denoising.sigmas=[0.5, 0.5]: allowed is one or more numbers >= 0 that differ",
    ),
    ([*DENOISER, "callbacks.denoising.count=1"], "callbacks.denoising.count=1: allowed is 2 images or more"),
    (["callbacks=denoiser", "callbacks.panels=null"], "callbacks.denoising=on: allowed is null for this model"),
    (
        ["experiment=denoiser_pure_noise", "callbacks=denoiser", "callbacks.panels=null"],
        "callbacks.denoising=on: allowed is null unless schedule=additive, whose sigmas it shows",
    ),
    (["callbacks=denoiser"], "callbacks.panels=on: allowed is null for this model"),
    (
        ["callbacks.ema.decay=1"],
        "callbacks.ema.decay=1.0: allowed is null (off), or more than 0 and less than 1",
    ),
    (["callbacks.metrics.every=0"], "callbacks.metrics.every=0: allowed is 1 or more"),
    (["data.batch_size=0"], "data.batch_size=0: allowed is 1 to 60000 images per rank"),
    (["data.val_size=0"], "data.val_size=0: allowed is 1 to 10000 images"),
    (["data.steps_per_epoch=0"], "data.steps_per_epoch=0: allowed is null (all) or 1 to 937"),
    *(
        (words, f"data={words[-1].partition('=')[2]}: allowed with model={model} are mnist, fashion_mnist, synthetic")
        for model, words in (
            ("class_unet", ["data=coloured_mnist"]),
            ("class_unet", ["data=captioned_folder"]),
            ("time_unet", [TIME, "data=coloured_mnist"]),
            ("denoiser", [*DENOISER, "data=captioned_folder"]),
            ("digit_classifier", ["experiment=digit_judge", "data=coloured_mnist"]),
        )
    ),
    (["data=synthetic", "data.size=3"], "data.size=3: allowed is 10 or more, an image of each class"),
    (["trainer.max_epochs=0"], "trainer.max_epochs=0: allowed is a positive number of epochs"),
    (["trainer.devices=-1"], "trainer.devices=-1: allowed is auto or a number > 0"),
    (["trainer.devices=many"], "trainer.devices=many: allowed is auto or a number > 0"),
    (["trainer.num_nodes=0"], "trainer.num_nodes=0: allowed is a positive number of nodes"),
    (
        ["trainer.precision=bf17-mixed"],
        "trainer.precision=bf17-mixed: allowed are auto, 32-true, bf16-mixed (did you mean bf16-mixed?)",
    ),
    (
        ["trainer.accelerator=cpus"],
        "trainer.accelerator=cpus: allowed are auto, cpu, gpu, cuda (did you mean cpu?)",
    ),
    (["trainer.strategy=fsdp"], "trainer.strategy=fsdp: allowed are auto, ddp (did you mean ddp?)"),
    (["trainer.gradient_clip_val=0"], "trainer.gradient_clip_val=0.0: allowed is null (none) or a positive norm"),
    (["trainer.sampling_steps=0"], "trainer.sampling_steps=0: allowed is null (no cap) or a positive number"),
    (["trainer.evaluated_images=1"], "trainer.evaluated_images=1: allowed is null (no cap) or 10 or more"),
    (["seed=-1"], "seed=-1: allowed is 0 to 4294967295"),
    (["seed=4294967296"], "seed=4294967296: allowed is 0 to 4294967295"),
    (["name=''"], "name='': allowed is a word, it names the run's directory"),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_value_out_of_range_is_named(words: list[str], line: str) -> None:
    assert answer(*words) == line


# --- data with captions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["MNIST", "FashionMNIST", "Synthetic"])
@pytest.mark.parametrize(("model", "name"), [("TextModule", "text_unet"), ("UpscalerModule", "upscaler_unet")])
def test_models_of_captions_take_data_with_captions(model: str, name: str, data: str) -> None:
    names = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist", "Synthetic": "synthetic"}
    model, data, given = f"denoiselab.training.{model}", f"denoiselab.data.{data}", names[data]
    line = line_of(lambda: check_pair(model, data))
    assert line == f"data={given}: allowed with model={name} are coloured_mnist, captioned_folder"
    for fits in ("ColouredMNIST", "CaptionedFolder"):
        check_pair(model, f"denoiselab.data.{fits}")


def data_answer(choice: str, *words: str) -> str:
    """The line that this data is answered with, whatever the model; "" where all is well."""
    data = plain_container(composed(f"data={choice}", *words).data)
    try:
        check_data(data)
    except ConfigError as error:
        return str(error)
    return ""


def test_digits_have_32_or_64_pixels() -> None:
    assert data_answer("coloured_mnist") == data_answer("coloured_mnist", "data.resolution=64") == ""
    line = "data.resolution=28: allowed is 32 or 64"
    assert data_answer("coloured_mnist", "data.resolution=28") == line
    line = "data.val_size=10001: allowed is 1 to 10000 images"
    assert data_answer("coloured_mnist", "data.val_size=10001") == line


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of twenty pictures that nobody has opened yet, of which the last has no caption."""
    for i in range(20):
        (tmp_path / f"{i}.png").touch()
    lines = [json.dumps({"file_name": f"{i}.png", "text": "" if i == 19 else "a dot"}) for i in range(20)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path


SKIP = "data.bad_rows=skip"
SMALL = ("data.batch_size=4", "data.val_size=4")
FOLDERS = [
    ([SKIP, *SMALL], ""),
    (SMALL, "data.captions={}/metadata.jsonl: bad are 1 of 20 rows (line 20 has an empty caption); " + SKIP),
    ([SKIP], "data.batch_size=32: allowed is 1 to 3 images per rank"),
    ([SKIP, "data.val_size=19"], "data.val_size=19: allowed is 1 to 18 images"),
    ([SKIP, *SMALL, "data.steps_per_epoch=4"], "data.steps_per_epoch=4: allowed is null (all) or 1 to 3"),
    ([SKIP, *SMALL, "data.resolution=20"], "data.resolution=20: allowed is a multiple of 8, 16 or more"),
    (["data.bad_rows=skipp"], "data.bad_rows=skipp: allowed are refuse, skip (did you mean skip?)"),
    (["data.captions=x.jsonl"], "data.captions={}/x.jsonl: allowed is a captions file; No such file or directory"),
]


@pytest.mark.parametrize(("words", "line"), FOLDERS, ids=[" ".join(words) for words, _ in FOLDERS])
def test_a_folder_of_pictures_is_checked_row_by_row(words: list[str], line: str, pictures: Path) -> None:
    said = data_answer("captioned_folder", f"data.folder={pictures}", *words)
    assert said.removesuffix(" leaves them out") == line.format(pictures)


def test_a_folder_of_pictures_has_no_default() -> None:
    with pytest.raises(ConfigError, match=r"^data\.folder: a value is required and none was given$"):
        data_answer("captioned_folder")


def test_an_experiments_own_epochs_are_cut_and_end_with_the_last() -> None:
    assert checked("experiment=time_ddpm", "trainer.max_epochs=17")["callbacks"]["samples"]["epochs"] == [
        *(1, 2, 3, 4, 5),
        *(16, 17),
    ]
    assert checked("experiment=denoiser", "trainer.max_epochs=3")["callbacks"]["panels"]["epochs"] == [1, 3]


def test_a_model_without_a_solver_cannot_be_sampled(tmp_path: Path) -> None:
    config = checked(*TINY) | {"solver": None}
    with pytest.raises(ConfigError, match=r"^solver=None: allowed is ddpm, ddim, euler or heun"):
        check(OmegaConf.create(config))


# --- resume=DIR ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a run: its config and a file in place of its checkpoint."""
    directory = tmp_path / "run"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").touch()
    save_config(checked(*TINY, "seed=7", "trainer.max_epochs=2"), directory)
    return directory


def test_resume_reads_the_runs_own_config(run: Path) -> None:
    ours = checked(*TINY, "seed=7", "trainer.max_epochs=2")
    assert checked(f"resume={run}") == {**ours, "resume": str(run)}


def test_resume_allows_another_trainer_only(run: Path) -> None:
    config = checked(f"resume={run}", "trainer.max_epochs=4", "trainer.precision=32-true")
    assert config["trainer"]["max_epochs"] == 4
    assert config["trainer"]["precision"] == "32-true"
    assert config["callbacks"]["samples"]["epochs"] == [1, 2, 4]  # the last grid is of the last epoch again
    assert config["seed"] == 7
    for word in ("seed=8", "model.net.width=8", "experiment=class_flow", "trainer=smoke"):
        assert answer(f"resume={run}", word).startswith(
            f"{word}: allowed beside resume are beside and trainer.{{max_epochs, "
        )


def test_resume_names_what_is_missing(tmp_path: Path, run: Path) -> None:
    assert answer(f"resume={tmp_path}") == f"resume={tmp_path}: allowed is a run directory, and this has no config.yaml"
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.unlink()
    assert answer(f"resume={run}") == f"resume={run}: nothing to resume, {checkpoint} is missing"


def test_a_run_is_the_same_whatever_precision_auto_stood_for_when_it_began(run: Path) -> None:
    saved = yaml.safe_load((run / "config.yaml").read_text())
    saved["trainer"]["precision"] = "bf16-mixed"
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    config = checked(f"resume={run}")
    assert config["trainer"]["precision"] == "bf16-mixed"
    for precision, same in (("auto", True), ("bf16-mixed", True), ("32-true", False)):
        asked = {**config, "trainer": {**config["trainer"], "precision": precision}}
        assert same_config(asked, run) == same
        assert not same or going_on(asked, run) == config


@pytest.mark.parametrize("text", ["", "3", "a: [1", "nme: x", "model: 3", "seed: x", "{}", "callbacks: {samples: 1}"])
def test_resume_names_a_config_that_is_none(run: Path, text: str) -> None:
    (run / "config.yaml").write_text(text)
    line = answer(f"resume={run}")
    assert line.startswith(f"resume={run}: ")
    assert "\n" not in line


def test_resume_names_a_config_cut_short(run: Path) -> None:
    whole = (run / "config.yaml").read_text()
    for end in (
        "model:\n  _targ",
        "samples:\n    _target_",
        "trainer:\n  _target_: denoiselab.training.make_trainer\n  max_ep",
    ):
        assert end in whole
        (run / "config.yaml").write_text(whole[: whole.index(end) + len(end)])
        assert "\n" not in answer(f"resume={run}")


def test_a_saved_config_says_the_same_when_it_is_read(run: Path) -> None:
    saved = OmegaConf.load(run / "config.yaml")
    assert isinstance(saved, type(OmegaConf.create({})))
    assert train_config(saved, []) == checked(*TINY, "seed=7", "trainer.max_epochs=2")
    assert train_config(saved, []) == yaml.safe_load((run / "config.yaml").read_text())
