"""A federation over Flower: in one process, or a server and sites over the network.

In: `Federation` and `Site` of `mvfer.training.federated`. Out: a federation whose rounds are done. Flower averages and carries
messages; of it, only the plain gRPC server and client are used, in which a site runs its own code alone. Its telemetry is off.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before the import, which reads it

import flwr.client
import flwr.server
from flwr.common import (
    Code,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg
from flwr.supercore import telemetry

from mvfer.progress import progress_bar
from mvfer.training.federated import Federation, Plan, Site, check_weights

logging.getLogger("flwr").setLevel(logging.CRITICAL)  # what matters is said here
telemetry.FLWR_TELEMETRY_ENABLED = "0"  # where Flower was imported before
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class SiteClient(flwr.client.NumPyClient):
    """A site as Flower sees it. The data set is opened when the server has told its plan.

    Args:
        open_site: from a plan, the site.
    """

    def __init__(self, open_site: Callable[[Plan], Site]):
        self.open_site, self.told = open_site, ""
        self.site: Site | None = None

    def _opened(self, config: dict) -> Site:
        if self.site is None or self.told != config["plan"]:
            self.told, self.site = config["plan"], self.open_site(Plan.heard(str(config["plan"])))
        return self.site

    def fit(self, parameters, config):
        """Train for a round."""
        weights, scans = self._opened(config).train(parameters, int(config["round"]))
        return weights, scans, {}

    def evaluate(self, parameters, config):
        """Score on the validation people."""
        accuracy, scans = self._opened(config).score(parameters)
        return 1 - accuracy, scans, {"accuracy": accuracy}


class Averaging(FedAvg):
    """Federated averaging that takes no round in which a site is missing, and checks what comes in.

    Source:
        McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data", Alg. 1,
        arXiv:1602.05629.
    """

    def __init__(self, federation: Federation):
        super().__init__(
            min_fit_clients=federation.sites,
            min_evaluate_clients=federation.sites,
            min_available_clients=federation.sites,
            accept_failures=False,
            initial_parameters=ndarrays_to_parameters(federation.weights),
            fit_metrics_aggregation_fn=lambda _: {},
            evaluate_metrics_aggregation_fn=lambda _: {},
        )
        self.federation, self.error = federation, None
        self.first = federation.done  # Flower counts from one
        rounds = federation.plan.rounds
        self.bar = progress_bar(what="federate", unit="round", in_logs=True, total=rounds, initial=federation.done)

    def _instructions(self, server_round: int) -> dict:
        return {"plan": self.federation.plan.told(), "round": self.first + server_round}

    def configure_fit(self, server_round, parameters, client_manager):
        """Whom to ask to train, and what they are told: nobody once something failed."""
        self.on_fit_config_fn = self._instructions
        return [] if self.error else super().configure_fit(server_round, parameters, client_manager)

    def configure_evaluate(self, server_round, parameters, client_manager):
        """Whom to ask for an accuracy."""
        self.on_evaluate_config_fn = self._instructions
        return [] if self.error else super().configure_evaluate(server_round, parameters, client_manager)

    def aggregate_fit(self, server_round, results, failures):
        """The mean of the weights, each by its number of scans."""
        try:
            self._refuse(failures, self.first + server_round)
            for _, result in results:
                check_weights(parameters_to_ndarrays(result.parameters), self.federation.shapes)
                if result.num_examples < 1:
                    raise ValueError(f"a site says that it trained on {result.num_examples} scans; leave it out")
        except ValueError as error:
            self.error = error
            return None, {}
        averaged, metrics = super().aggregate_fit(server_round, results, failures)
        self.averaged, self.scans = parameters_to_ndarrays(averaged), sorted(found.num_examples for _, found in results)
        return averaged, metrics

    def aggregate_evaluate(self, server_round, results, failures):
        """Keep the round."""
        try:
            self._refuse(failures, self.first + server_round)
            self.federation.record(
                self.averaged,
                self.scans,
                [(float(found.metrics["accuracy"]), found.num_examples) for _, found in results],
            )
        except (ValueError, OSError) as error:
            self.error = error
            return None, {}
        self.bar.update()
        self.bar.set_postfix_str(f"validation_accuracy={self.federation.history[-1]['validation_accuracy']:.3f}")
        return super().aggregate_evaluate(server_round, results, failures)

    @staticmethod
    def _refuse(failures: Sequence, round_number: int) -> None:
        if not failures:
            return
        if isinstance(failures[0], (ValueError, OSError)):  # of a site in this process
            raise failures[0]
        raise ValueError(
            f"a site failed in round {round_number}; its own screen says why. Earlier rounds are kept: go on with --resume"
        )

    def finish(self) -> None:
        """Raises:
        ValueError, OSError: what stopped the rounds.
        """
        self.bar.close()
        if self.error:
            raise self.error


class SiteHere(ClientProxy):
    """A site in this process."""

    def __init__(self, number: int, client: SiteClient):
        super().__init__(str(number))
        self.client = client

    def fit(self, ins: FitIns, timeout, group_id) -> FitRes:
        """As over the network."""
        weights, scans, metrics = self.client.fit(parameters_to_ndarrays(ins.parameters), ins.config)
        return FitRes(Status(Code.OK, ""), ndarrays_to_parameters(weights), scans, metrics)

    def evaluate(self, ins: EvaluateIns, timeout, group_id) -> EvaluateRes:
        """As over the network."""
        loss, scans, metrics = self.client.evaluate(parameters_to_ndarrays(ins.parameters), ins.config)
        return EvaluateRes(Status(Code.OK, ""), loss, scans, metrics)

    def get_properties(self, ins, timeout, group_id):
        """Not asked."""
        raise NotImplementedError

    def get_parameters(self, ins, timeout, group_id):
        """Not asked: the start is the server's."""
        raise NotImplementedError

    def reconnect(self, ins, timeout, group_id):
        """There is no connection."""
        raise NotImplementedError


def simulate(federation: Federation, datasets: Sequence[str]) -> None:
    """All rounds in this process, site after site.

    Raises:
        ValueError, OSError: what stopped a site.
    """
    manager, strategy = flwr.server.SimpleClientManager(), Averaging(federation)
    for number, dataset in enumerate(datasets):
        manager.register(SiteHere(number, SiteClient(_opener(federation.model, dataset))))
    server = flwr.server.Server(client_manager=manager, strategy=strategy)
    server.set_max_workers(1)
    server.fit(num_rounds=federation.plan.rounds - federation.done, timeout=None)
    strategy.finish()


def serve(federation: Federation, address: str, certificates: Sequence[str] | None, *, insecure: bool = False) -> None:
    """All rounds, with the sites that join at this address.

    Args:
        address: "host:port". certificates: files of the authority's certificate, the server's, and its key, all PEM.
        insecure: may others than this computer be reached without encryption?
    Raises:
        ValueError: if they would be and may not, or a site failed; OSError: if a file cannot be read.
    """
    check_address(address, encrypted=bool(certificates), insecure=insecure, remedy="--certificates CA CERT KEY")
    files = tuple(Path(name).read_bytes() for name in certificates) if certificates else None
    strategy = Averaging(federation)
    flwr.server.start_server(
        server_address=address,
        config=flwr.server.ServerConfig(num_rounds=federation.plan.rounds - federation.done),
        strategy=strategy,
        certificates=files,
    )
    strategy.finish()


def join(model: str, dataset: str, address: str, root_certificate: str | None, *, insecure: bool = False) -> None:
    """Take part as one site, until the server says that all rounds are done.

    Raises:
        ValueError: if this site cannot take part; OSError: if the server is not there within a minute, or hangs up.
    """
    check_address(address, encrypted=bool(root_certificate), insecure=insecure, remedy="--root_certificate FILE")
    import grpc

    wait_for_server(address)
    try:
        flwr.client.start_client(
            server_address=address,
            client=SiteClient(_opener(model, dataset)).to_client(),
            root_certificates=Path(root_certificate).read_bytes() if root_certificate else None,
            insecure=root_certificate is None,
        )
    except grpc.RpcError as error:
        reason = error.details() if hasattr(error, "details") else error
        raise OSError(f"{address}: no server there, or it hung up ({reason}); start it first, then join") from error
    except StopIteration as error:
        raise OSError(f"{address}: the server hung up; see its screen, and join again when it goes on") from error


def wait_for_server(address: str, *, patience_s: float = 60.0) -> None:
    """Return as soon as something listens at "host:port": sites may be started before their server.

    Raises:
        OSError: if nothing does in this time.
    """
    host, _, port = address.rpartition(":")
    end = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise OSError(f"{address}: no server there ({error}); start it first, then join") from error
            time.sleep(0.5)


def check_address(address: str, *, encrypted: bool, insecure: bool, remedy: str) -> None:
    """Refuse to talk to other computers in the clear.

    Raises:
        ValueError: with the remedy.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise ValueError(f"{address}: expected host:port, such as 127.0.0.1:9092")
    if host not in LOOPBACK and not encrypted and not insecure:
        raise ValueError(
            f"{address}: other computers could read and change what is sent; pass {remedy}, stay with 127.0.0.1, or, where the "
            "network itself is encrypted, say --insecure"
        )


def _opener(model: str, dataset: str) -> Callable[[Plan], Site]:
    return lambda plan: Site(model, dataset, plan)
