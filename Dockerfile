# The console. Mount the share read-write and the data directory; see compose.yaml.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONUTF8=1 HIMURO_DATA_DIR=/data
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt \
 && useradd --uid 10001 --no-create-home himuro \
 && install -d -o himuro /data
COPY app.py ./
COPY .streamlit .streamlit
COPY core core
COPY db db
COPY pages pages
USER himuro
VOLUME /data
EXPOSE 8501
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"]
CMD ["streamlit", "run", "app.py", "--server.address", "0.0.0.0"]
