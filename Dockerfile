# An image with the two static binaries and nothing else to speak of: about 30 MB, no shell, no root.
#
#   docker build -t kith .    builds from source: needs the Rust image and the crates' registry
#
# config/prebuilt.Dockerfile makes the same image of binaries that this machine has built.

FROM rust:1.95-bookworm AS build
WORKDIR /kith
COPY . .
# The target is named, though it is the host's own, so that the flags are for the programs and not for build scripts.
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --target "$host" -p kith-node -p kith-supernode --bins \
    && install -D -t /image/usr/local/bin "target/$host/release/kith" "target/$host/release/kith-supernode" \
    && mkdir /home-of-kith && rm -rf target

FROM scratch
COPY LICENSE /
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /home-of-kith /var/lib/kith
ENV KITH_HOME=/var/lib/kith
# Without a volume of its own a container gets an anonymous one, so no two containers share a key.
VOLUME /var/lib/kith
USER 65532:65532
CMD ["kith", "run"]
