"""The Power BI project in `powerbi/`, written from the schema, the KPIs and the pages described here."""
