# The router in a small image: no shell, not root, /app/config.yaml, nothing written but state and a socket.
#
#   docker build -t auto-ai-router:latest .
#   docker run -p 8080:8080 -v ./config.yaml:/app/config.yaml:ro -e MASTER_KEY -e OPENAI_API_KEY \
#       --read-only --tmpfs /tmp --stop-timeout 45 auto-ai-router:latest
#
# The file must be readable for everyone, as the user in here is nobody out there. `docker exec NAME auto-ai-router
# reload` applies a changed one. The commands run in a clean root by `make test-image`.

FROM rust:1.89-bookworm AS build
# Not pinned: Debian's stable release has one cmake.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && install -D target/release/auto-ai-router /out/bin/auto-ai-router
RUN ln -s auto-ai-router /out/bin/auto_ai_router && mkdir /out/state

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Auto AI Router" \
      org.opencontainers.image.description="An edge router for LLM APIs" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=nonroot:nonroot /out/state /var/lib/auto-ai-router
RUN ["/usr/local/bin/auto-ai-router", "version"]
ENV STATE_DIRECTORY=/var/lib/auto-ai-router
WORKDIR /app
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/auto-ai-router", "healthcheck", "--config", "/app/config.yaml"]
ENTRYPOINT ["/usr/local/bin/auto-ai-router"]
CMD ["run", "--config", "/app/config.yaml"]
