"""The machines page: this machine as it is, the queues and workers, and who holds what."""

from datetime import timedelta

import pytest
from django.utils import timezone

from experiments import machines, presence
from experiments.states import RunState, State
from tests.factories import make_experiment, make_run
from tests.standin_nvml import GIB, Handle, Process, StandInNvml
from trainer import gpus

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


@pytest.mark.parametrize("device", ["1", "GPU-two", "GPU-t"])
def test_a_gpu_shows_what_trains_on_it(monkeypatch, device):
    monkeypatch.setattr(gpus, "pynvml", StandInNvml([Handle("GPU-one"), Handle("GPU-two")]))
    experiment = make_experiment(make_run(), State.TRAINING, device=device, worker="")
    (_, first, _), (_, second, _) = machines.loads(machines.held(timezone.now()))
    assert first is None and second.experiment == experiment


def test_a_gpu_that_somebody_else_uses_is_not_called_free(monkeypatch, signed_in):
    busy = [Handle(f"GPU-{name}", use=100, processes=[Process(1, 20 * GIB)]) for name in ("one", "two")]
    monkeypatch.setattr(gpus, "pynvml", StandInNvml([*busy, Handle("GPU-three")]))
    make_experiment(make_run(), State.TRAINING, device="0", worker="")  # that process is ours
    text = page(signed_in)
    assert text.count("used by ") == 1 and "(process 1, 20.0 GB)" in text and text.count(">free<") == 1


def test_the_page_shows_the_cards_and_their_load(monkeypatch, signed_in):
    card = Handle("GPU-one", "NVIDIA A100", used_gb=20, use=97, degrees=88, watts=250)
    monkeypatch.setattr(gpus, "pynvml", StandInNvml([card]))
    text = page(signed_in)
    assert all(words in text for words in ("NVIDIA A100", "97 %", "20.0 of 80 GB", "88 °C, hot", "250 W"))


def test_machines_need_a_sign_in(client):
    assert client.get("/machines/").status_code == 302
