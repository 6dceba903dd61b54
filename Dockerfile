# One image for every process. `docker run IMAGE` runs all of it in one container, with SQLite and the repositories in /data.
# HOST=0.0.0.0 is refused until somebody has a password: see docs/settings.md.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git bubblewrap && rm -rf /var/lib/apt/lists/*
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
