"""Federated fine-tuning: what is averaged, what leaves a site, what is refused, and that the network changes nothing."""

import datetime
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from mvfer.cli.main import main
from mvfer.training.federated import Federation, Plan, check_weights, plan_for, put_weights, start_of, take_weights

from .toy import write_toy_data

pytest.importorskip("flwr")

from mvfer.training import flower  # noqa: E402  # needs flwr

ROOT = Path(__file__).parents[2]
LABELS = ["happiness", "sadness", "surprise"]
SETTINGS = {"rounds": 2, "local_steps": 3, "batch_size": 12, "learning_rate": 0.02}
ACTIONS = [["serve", "--sites", "2", "--labels", "a", "b", "--output_dir", "run"], ["join", "--dataset", "data"]]
FLAGS = [str(part) for name, value in SETTINGS.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> list[str]:
    """Two data sets: 12 and 24 training rows, of people with telling names."""
    folder = tmp_path_factory.mktemp("anna-schmidt")
    return [str(write_toy_data(folder / f"site-{count}", subjects=(count, 3, 3))) for count in (4, 8)]


@pytest.fixture(scope="module")
def simulated(small_run, sites, tmp_path_factory) -> Path:
    """The folder of a federation in one process."""
    folder = tmp_path_factory.mktemp("federated") / "run"
    assert (
        main(
            [
                "federate",
                "simulate",
                "--model",
                str(small_run),
                "--dataset",
                *sites,
                "--output_dir",
                str(folder),
                *FLAGS,
            ]
        )
        == 0
    )
    return folder


def test_a_round_is_the_mean_of_the_sites_weights_by_their_scans(small_run, sites, tmp_path):
    plan = plan_for(small_run, LABELS, **SETTINGS | {"rounds": 1})
    federation = Federation(small_run, plan, tmp_path / "run", 2)
    start = federation.weights
    flower.simulate(federation, sites)
    alone = [flower.Site(small_run, folder, plan).train(start, 1) for folder in sites]
    assert [scans for _, scans in alone] == [12, 24]
    for together, few, many in zip(federation.weights, alone[0][0], alone[1][0], strict=True):
        np.testing.assert_allclose(together, (few + 2 * many) / 3, rtol=1e-4, atol=1e-5)
        assert not np.array_equal(few, many)


def test_the_run_becomes_a_model_folder_that_says_how_it_was_made(simulated, small_run):
    results = json.loads((simulated / "results.json").read_text())
    federated = results["training"]["federated"]
    assert (federated["sites"], federated["rounds"], len(federated["history"])) == (2, 2, 2)
    assert results["training"]["labelled_scans"] == 36 and set(results["transfer"]) == {"2 site-8"}
    assert "at 2 sites" in (simulated / "README.md").read_text()
    start, tuned = (load_file(folder / "model.safetensors") for folder in (small_run, simulated))
    assert {name for name in tuned if name not in start} == {"head.weight", "head.bias", "head.logit_scale"}
    assert all(np.array_equal(start[name], tuned[name]) for name in tuned.keys() & start.keys())


def test_a_federation_that_stopped_goes_on_as_if_it_had_not(simulated, small_run, sites, tmp_path):
    flags = ["--model", str(small_run), "--dataset", *sites, "--output_dir", str(tmp_path / "run"), *FLAGS]
    assert main(["federate", "simulate", *flags, "--rounds", "1"]) == 0
    assert main(["federate", "simulate", *flags]) == 2  # there is a run
    assert main(["federate", "simulate", *flags, "--resume", "--local_steps", "4"]) == 2  # other settings
    assert main(["federate", "simulate", *flags, "--resume"]) == 0
    ends = [
        load_file(folder / "checkpoints" / "00002-federation.safetensors") for folder in (simulated, tmp_path / "run")
    ]
    assert ends[0].keys() == ends[1].keys()
    for name in ends[0]:
        np.testing.assert_allclose(ends[0][name], ends[1][name], rtol=1e-4, atol=1e-5)


def test_adapters_are_exchanged_too(small_run, sites, tmp_path):
    pytest.importorskip("peft")
    plan = plan_for(small_run, LABELS, **SETTINGS | {"rounds": 1, "method": "lora", "lora_rank": 2})
    federation = Federation(small_run, plan, tmp_path / "run", 2)
    before = federation.weights
    flower.simulate(federation, sites)
    moved = [not np.array_equal(one, other) for one, other in zip(before, federation.weights, strict=True)]
    assert len(moved) > 3 and sum(moved) > 3


def test_what_a_site_sends_are_weights_and_three_numbers(small_run, sites):
    plan = plan_for(small_run, LABELS, **SETTINGS)
    client = flower.SiteClient(lambda told: flower.Site(small_run, sites[0], told))
    told = {"plan": plan.told(), "round": 1}
    weights, scans, more = client.fit(take_weights(start_of(small_run, plan)), told)
    loss, scored, metrics = client.evaluate(weights, told)
    assert (scans, more, scored, set(metrics)) == (12, {}, 9, {"accuracy"}) and loss == 1 - metrics["accuracy"]
    assert sum(one.size for one in weights) == sum(one.size for one in take_weights(start_of(small_run, plan)))
    assert all(one.dtype == np.float32 for one in weights)
    assert "anna" not in plan.told() and sites[0] not in plan.told()


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True], ids=["loopback", "TLS"])
def test_over_the_network_it_is_the_same(encrypted, simulated, small_run, sites, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ca, cert, key = certificates(tmp_path) if encrypted else (None, None, None)
    tls = (["--certificates", ca, cert, key], ["--root_certificate", ca]) if encrypted else ([], [])
    serve = ["serve", "--model", small_run, "--sites", 2, "--labels", *LABELS, "--address", address, *FLAGS]
    server = federate(*serve, "--output_dir", tmp_path / "run", *tls[0])
    clients = [
        federate("join", "--model", small_run, "--dataset", site, "--address", address, *tls[1]) for site in sites
    ]
    said = [process.communicate(timeout=600)[0] for process in [server, *clients]]
    assert [process.returncode for process in [server, *clients]] == [0, 0, 0], said
    ends = [
        load_file(folder / "checkpoints" / "00002-federation.safetensors") for folder in (simulated, tmp_path / "run")
    ]
    for name in ends[0]:
        np.testing.assert_allclose(ends[0][name], ends[1][name], rtol=1e-4, atol=1e-5)
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert b"anna-schmidt" not in written and b"site-4" not in written and b"toy-0" not in written
    assert "not evaluated" in (tmp_path / "run" / "README.md").read_text()


def federate(*arguments) -> subprocess.Popen:
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mvfer", "federate", *map(str, arguments)]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipe)


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A self-signed certificate of 127.0.0.1, as authority and server, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).add_extension(host, critical=False)
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return folder / "cert.pem", folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    "action", [["serve", "--sites", "2", "--labels", "a", "b", "--output_dir", "x"], ["join", "--dataset", "d"]]
)
@pytest.mark.parametrize("address", ["0.0.0.0:9092", "[::]:9092", "hospital.example:9092"])
def test_other_computers_are_not_talked_to_in_the_clear(action, address, small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["federate", *action, "--model", str(small_run), "--address", address]) == 2
    assert "other computers could read and change what is sent" in capsys.readouterr().err


def test_a_site_waits_for_its_server_but_not_for_ever():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(OSError, match="no server there"):
            flower.wait_for_server(address, patience_s=0)
        threading.Timer(0.3, free.listen).start()
        flower.wait_for_server(address, patience_s=30)


def test_flowers_telemetry_is_off():
    from flwr.supercore import telemetry

    assert telemetry.FLWR_TELEMETRY_ENABLED == "0"


def test_a_site_with_another_model_or_other_labels_is_refused(small_run, sites):
    plan = plan_for(small_run, LABELS, **SETTINGS)
    with pytest.raises(ValueError, match="has other weights than the server's model"):
        flower.Site(small_run, sites[0], Plan.heard(plan.told().replace(plan.fingerprint, "0" * 32)))
    with pytest.raises(ValueError, match="which are none of"):
        flower.Site(small_run, sites[0], plan_for(small_run, LABELS[:2], **SETTINGS))


def test_weights_that_do_not_fit_or_are_no_numbers_are_refused(small_run):
    plan = plan_for(small_run, LABELS, **SETTINGS)
    model = start_of(small_run, plan)
    weights = take_weights(model)
    with pytest.raises(ValueError, match="expected weights of shapes"):
        put_weights(model, weights[1:])
    spoilt = [*weights[:-1], np.full_like(weights[-1], np.nan)]
    with pytest.raises(ValueError, match="not finite"):
        check_weights(spoilt, [one.shape for one in weights])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"labels": 1}',
        '{"labels": ["a"], "fingerprint": "", "rounds": 1e99}',
        '{"labels": ["a"], "fingerprint": "", "learning_rate": "1e9"}',
        '{"labels": ["a"], "fingerprint": "", "path": "/"}',
    ],
)
def test_a_plan_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="the server's plan"):
        Plan.heard(text)
