# The image of ../Dockerfile, made of the binaries that this machine has built, so that nothing is pulled for it:
#
#   .ci/static && docker build -t kith -f config/prebuilt.Dockerfile .

FROM scratch
# When this line fails, nothing has been built yet: type .ci/static
COPY target/docker LICENSE /
# Of `.ci` .dockerignore leaves the empty folder, and an empty folder with an owner gives a new volume its owner.
COPY --chown=65532:65532 .ci /var/lib/kith
ENV KITH_HOME=/var/lib/kith
VOLUME /var/lib/kith
USER 65532:65532
CMD ["kith", "run"]
