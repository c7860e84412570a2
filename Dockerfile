# docker build -t proxmox-mcp .      How to run it: docs/running.md
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proxmox_mcp proxmox_mcp
COPY mqtt_bridge mqtt_bridge
RUN python -m venv /opt/proxmox-mcp \
 && /opt/proxmox-mcp/bin/pip install --no-cache-dir --disable-pip-version-check '.[all]'

FROM python:3.13-slim
# Mosquitto: where MQTT_HOST is not set, it is the broker. Its package would start nothing in here.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends mosquitto \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin proxmox-mcp \
 && install -d -m 0700 -o proxmox-mcp -g proxmox-mcp /data
COPY --from=build /opt/proxmox-mcp /opt/proxmox-mcp
ENV PATH=/opt/proxmox-mcp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/data
USER proxmox-mcp
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["proxmox-mcp"]
CMD ["serve"]
