"""What the app remembers: blobs, tables and queues of the data storage account, and the records kept in them."""
