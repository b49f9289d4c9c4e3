# syntax=docker/dockerfile:1
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1

WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt

COPY .streamlit .streamlit
COPY app.py .
COPY assets assets
COPY core core
COPY pages pages
COPY cache/.example cache/.example

# The cache outlives the container, and is the only place that the app writes to.
RUN useradd --create-home --uid 1000 pruning && mkdir /cache && chown pruning /cache
USER pruning
VOLUME /cache

# Inside a container all addresses are those of the container; `docker run -p` decides who reaches it.
ENV NETWORK_PRUNING_CACHE=/cache STREAMLIT_SERVER_ADDRESS=0.0.0.0 STREAMLIT_SERVER_PORT=8501
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "app.py"]
