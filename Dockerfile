# The router in a small image: no shell, not root, /app/config.yaml.
#
#   docker build -t auto-ai-router .
#   docker run -p 8080:8080 -v ./config.yaml:/app/config.yaml:ro -e OPENAI_API_KEY --stop-timeout 45 auto-ai-router

FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/auto-ai-router /usr/local/bin/ && mkdir /state

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Auto AI Router" \
      org.opencontainers.image.description="An edge router for LLM APIs" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /usr/local/bin/auto-ai-router /usr/local/bin/auto-ai-router
COPY --from=build --chown=nonroot:nonroot /state /var/lib/auto-ai-router
RUN ["/usr/local/bin/auto-ai-router", "version"]
ENV STATE_DIRECTORY=/var/lib/auto-ai-router
WORKDIR /app
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/auto-ai-router"]
CMD ["run", "--config", "/app/config.yaml"]
