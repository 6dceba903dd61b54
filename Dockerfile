# One image for every process. `docker compose up` runs web, think, gpu, Redis and PostgreSQL side by side;
# `docker run IMAGE` alone runs all of it in one container, with SQLite in /data.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN useradd --create-home researcher && mkdir /data && chown researcher /data
USER researcher
ENV AUTORESEARCH_VAR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
CMD ["python", "manage.py", "up"]
