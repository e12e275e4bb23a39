# syntax=docker/dockerfile:1
# One image for nodes and workers: docker run hub serve | worker | doctor …
FROM python:3.13-slim-bookworm AS build
# hadolint ignore=DL3013
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY clients/python clients/python
COPY hub hub
# Not an editable installation, so that the image does not need the source.
RUN UV_PROJECT_ENVIRONMENT=/opt/hub uv sync --locked --no-dev --extra grpc --extra otel --extra outbox --no-editable --compile-bytecode --python /usr/local/bin/python3

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home hub
COPY --from=build /opt/hub /opt/hub
ENV PATH=/opt/hub/bin:$PATH \
    HUB_PUBLIC__HOST=0.0.0.0 \
    HUB_INTERNAL__HOST=0.0.0.0 \
    HUB_INTERNAL__ALLOW_PUBLIC=true \
    HUB_WORKER__HOST=0.0.0.0 \
    HUB_WORKER__PORT=8082 \
    HUB_LOGS__FORMAT=json
USER 10001
# 8080 is the public listener. Keep 8081 (publishing and operators) and 8082 (probes of a worker) internal.
EXPOSE 8080 8081 8082
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
    CMD ["hub", "healthcheck"]
ENTRYPOINT ["hub"]
CMD ["serve"]
