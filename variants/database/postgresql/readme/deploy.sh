echo "POSTGRES_PASSWORD='…'" >> .env
