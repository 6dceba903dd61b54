from django.urls import path

from experiments.consumers import LiveConsumer

websocket_urlpatterns = [
    path("ws/home/", LiveConsumer.as_asgi()),
    path("ws/runs/<int:run_id>/", LiveConsumer.as_asgi()),
]
