"""The machines page: this machine as it is, the queues and workers, and who holds what."""

from collections import namedtuple
from datetime import timedelta

import pytest
from django.utils import timezone

from experiments import machines, presence
from experiments.states import RunState, State
from tests.factories import make_experiment, make_run

pytestmark = pytest.mark.django_db


def page(client, query=""):
    answer = client.get("/machines/" + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_idle_installation(signed_in):
    text = page(signed_in)
    assert "Nothing is under way" in text and "GB free" in text and "celery -A autoresearch_web worker" in text


def test_the_part_alone_asks_for_itself_again(signed_in):
    text = page(signed_in, "?part=now")
    assert "<html" not in text and 'hx-trigger="refresh from:body, every 5s"' in text
    assert signed_in.get("/machines/?part=x").status_code == 404


def test_what_is_under_way_names_device_worker_and_heartbeat(signed_in):
    now = timezone.now()
    run = make_run()
    make_experiment(run, State.TRAINING, description="<b>wider", device="3", worker="box:77:1700", heartbeat_at=now)
    make_experiment(run, State.REVIEWING)
    make_experiment(run, State.KEPT, 1.0)
    text = page(signed_in)
    assert "box, pid 77" in text and "<b>3</b>" in text and "waits for a person" in text and "stale" not in text
    assert "&lt;b&gt;wider" in text and [one.experiment.number for one in machines.held(now)] == [0, 1]


def test_a_lease_without_a_heartbeat_is_marked(signed_in):
    late = timezone.now() - timedelta(seconds=90)
    make_experiment(make_run(), State.TRAINING, worker="box:77:1700", heartbeat_at=late)
    assert "stale, 2 min" in page(signed_in)


def test_what_a_worker_let_go_is_not_stale():
    now = timezone.now()
    make_experiment(make_run(), State.READY, worker="", heartbeat_at=now - timedelta(days=1))
    assert [(one.age_seconds, one.is_stale) for one in machines.held(now)] == [(None, False)]


def test_ended_runs_hold_nothing():
    make_experiment(make_run(state=RunState.ENDED), State.REVIEWING)
    assert machines.held(timezone.now()) == []


def test_a_redis_that_is_away_is_said(signed_in, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    text = page(signed_in)
    assert "Redis does not answer" in text and "not known" in text


def test_workers_and_queues_are_counted(signed_in):
    client = presence.connect()
    try:
        client.ping()
    except Exception:
        pytest.skip("no Redis for this test")
    client.set(f"{presence.KEY}:gpu:test:1:1", "1", ex=5)
    queues, away = machines.queues()
    client.delete(f"{presence.KEY}:gpu:test:1:1")
    assert away == "" and {queue.name: queue.workers for queue in queues}["gpu"] >= 1


def test_this_machine_has_numbers():
    host = machines.host()
    assert host.cores >= 1 and 0 < host.used_gb < host.total_gb and 0 <= host.disk_percent <= 100


Memory, Use = namedtuple("Memory", "used total"), namedtuple("Use", "gpu")


class Nvml:
    """Answers as NVML does on a card that tells no power and a passive one that tells no use."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, card):
        return b"H100"

    def nvmlDeviceGetUtilizationRates(self, card):
        if card:
            raise self.NVMLError("not supported")
        return Use(97)

    def nvmlDeviceGetMemoryInfo(self, card):
        return Memory(60 * 2**30, 80 * 2**30)

    def nvmlDeviceGetTemperature(self, card, which):
        return 88

    def nvmlDeviceGetPowerUsage(self, card):
        raise self.NVMLError("not supported")


def test_a_card_that_does_not_answer_everything():
    first, second = (machines._gpu(Nvml(), index) for index in (0, 1))
    assert (first.name, first.use_percent, first.memory_percent, first.is_hot, first.watts) == ("H100", 97, 75, True, None)
    assert second.use_percent is None


def test_a_gpu_shows_what_trains_on_it():
    experiment = make_experiment(make_run(), State.TRAINING, device="1", worker="")
    rows = machines.held(timezone.now())
    cards = [machines._gpu(Nvml(), index) for index in (0, 1)]
    assert machines.holder(cards[0], rows) is None
    assert machines.holder(cards[1], rows).experiment == experiment


def test_machines_need_a_sign_in(client):
    assert client.get("/machines/").status_code == 302
