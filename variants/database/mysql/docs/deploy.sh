echo "MYSQL_PASSWORD=$(openssl rand -hex 32)" >> .env
