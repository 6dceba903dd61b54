"""The site map is experiments/urls.py."""

from django.urls import include, path

urlpatterns = [path("", include("experiments.urls"))]
