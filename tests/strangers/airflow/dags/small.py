"""Two small workflows, so that there is something to read."""

from airflow.sdk import DAG, Asset, task

with DAG("counting", schedule=None, tags=["small"], params={"upto": 3}):

    @task(outlets=[Asset("file:///tmp/counted")])
    def count():
        return 3

    @task
    def tell(number):
        print(number)

    tell(count())

with DAG("listening", schedule=[Asset("file:///tmp/counted")], tags=["small"]):

    @task
    def hear():
        return "heard"

    hear()
