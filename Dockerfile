# The console. compose.yaml shows what it needs around it.
#
# The tag names one release of Python on one release of Debian. It still moves when the image is
# rebuilt for security fixes, which is welcome on a build machine; to pin the bytes as well, put
# the digest behind both FROM lines: python:3.11.14-slim-bookworm@sha256:… (docker buildx
# imagetools inspect python:3.11.14-slim-bookworm).
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
COPY requirements.txt requirements-oidc.txt ./
# requirements-oidc.txt where people sign in at an identity provider (HIMURO_SIGNIN=oidc).
ARG REQUIREMENTS=requirements.txt
# Each file by its SHA-256. Wheels only: nothing is compiled, no code of a package runs here, and no
# compiler is needed either. No dependencies beside those that are named: some are left out.
RUN python -m venv /opt/himuro \
 && /opt/himuro/bin/python -m pip install --no-cache-dir --no-deps --require-hashes \
    --only-binary=:all: -r "$REQUIREMENTS" \
 && /opt/himuro/bin/python -m pip uninstall --yes setuptools pip

FROM python:3.11.14-slim-bookworm
RUN python -m pip uninstall --yes setuptools wheel pip \
 && useradd --system --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin himuro \
 && install --directory --owner himuro --group himuro --mode 0750 /data
COPY --from=build /opt/himuro /opt/himuro
WORKDIR /app
COPY app.py ./
COPY .streamlit .streamlit
COPY core core
COPY db db
COPY pages pages
RUN /opt/himuro/bin/python -m compileall -q /app
# The root file system may be read-only: what is written goes to /data and /tmp.
ENV PATH=/opt/himuro/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONUTF8=1 \
    HIMURO_DATA_DIR=/data \
    HIMURO_TIMEZONE=Asia/Tokyo
USER 10001:10001
VOLUME /data
EXPOSE 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/healthz', timeout=3)"]
# No shell in between: SIGTERM reaches the console.
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.address", "0.0.0.0"]
