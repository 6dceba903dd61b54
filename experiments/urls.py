"""The site map."""

from __future__ import annotations

from django.urls import path

from experiments.views import experiment, health, home, new, program, run, run_actions, signin

urlpatterns = [
    path("", home.home, name="home"),
    path("new/", new.new, name="new"),
    path("new/model/", new.check_model, name="check-model"),
    path("healthz", health.healthz, name="healthz"),
    path("sign-in/", signin.form, name="sign-in"),
    path("sign-in/<uid>/<token>/", signin.link, name="sign-in-link"),
    path("sign-out/", signin.leave, name="sign-out"),
    path("programs/<int:pk>/", program.detail, name="program"),
    path("programs/<int:pk>/brief/", program.save_brief, name="program-brief"),
    path("programs/<int:pk>/brief/<int:number>/", program.brief_version, name="program-brief-version"),
    path("programs/<int:pk>/settings/", program.save_settings, name="program-settings"),
    path("programs/<int:pk>/runs/", program.start_run, name="program-start-run"),
    path("runs/<int:pk>/", run.detail, name="run"),
    path("runs/<int:pk>/chart.json", run.chart, name="run-chart"),
    path("runs/<int:pk>/results.tsv", run.results, name="run-results"),
    path("runs/<int:pk>/pause/", run_actions.pause, name="run-pause"),
    path("runs/<int:pk>/resume/", run_actions.resume, name="run-resume"),
    path("runs/<int:pk>/stop/", run_actions.stop, name="run-stop"),
    path("runs/<int:pk>/mode/", run_actions.mode, name="run-mode"),
    path("runs/<int:pk>/limits/", run_actions.limits, name="run-limits"),
    path("runs/<int:pk>/note/", run_actions.note, name="run-note"),
    path("runs/<int:pk>/adopt/", run_actions.adopt, name="run-adopt"),
    path("runs/<int:pk>/restore/", run_actions.restore, name="run-restore"),
    path("experiments/<int:pk>/", experiment.detail, name="experiment"),
    path("experiments/<int:pk>/approve/", experiment.approve, name="experiment-approve"),
    path("experiments/<int:pk>/reject/", experiment.reject, name="experiment-reject"),
    path("experiments/<int:pk>/cancel/", experiment.cancel, name="experiment-cancel"),
    path("experiments/<int:pk>/roll-back/", experiment.roll_back, name="experiment-roll-back"),
    path("experiments/<int:pk>/revert/", experiment.revert, name="experiment-revert"),
    path("experiments/<int:pk>/<str:stream>", experiment.read_stream, name="experiment-stream"),
]
