"""What all endpoints share: the transaction of a request, error answers, pages, types of fields."""
