echo "ORACLE_PASSWORD=$(openssl rand -hex 15)" >> .env
